"""The two training phases of tiny-base: next-token pretraining, then chats with answer-only loss mixed with text.

Input: token arrays made by build.py. Output: the trained model, and a log line every LOG_STEPS steps. The length of a
run is given in seconds, the learning rate follows the elapsed share, so a run never exceeds its limit; hence two runs
of equal seeds agree only in their data order, not bit for bit. Not done here: corpus, tokenizer, judging texts.
"""

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ROW = 1024
LOG_STEPS = 100
PEAK_RATE = 3e-3
CHAT_RATE = 2e-3
TEXT_SHARE = 0.35
Array = np.ndarray


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A fresh 5.7 M parameter Llama in float32: 6 layers of 256, 4 heads (2 kv), tied embeddings, context 1024."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=ROW,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        initializer_range=0.03,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


class Trainer:
    """Holds model, optimizer and random state; each phase is one call."""

    def __init__(self, model: LlamaForCausalLM, batch_tokens: int, compiled: bool, seed: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model.to(self.device)
        matrices = [p for p in model.parameters() if p.ndim == 2]
        vectors = [p for p in model.parameters() if p.ndim != 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), fused=self.device == "cuda")
        self.forward = torch.compile(self._loss, dynamic=False) if compiled else self._loss
        self.rng = np.random.default_rng(seed)
        self.batch_tokens = batch_tokens
        self.tokens = 0

    def _loss(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self.model(input_ids=ids, use_cache=False).logits[:, :-1]
        return cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), labels[:, 1:].reshape(-1), ignore_index=-100)

    def _step(self, ids: Array, labels: Array, rate: float) -> torch.Tensor:
        self.tokens += ids.size
        on_device = [torch.from_numpy(a.astype(np.int64)).to(self.device, non_blocking=True) for a in (ids, labels)]
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            loss = self.forward(*on_device)
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def text_batch(self, stream: Array, rows: int) -> tuple[Array, Array]:
        """`rows` windows of ROW tokens at random offsets of the token stream; labels are the tokens."""
        starts = self.rng.integers(0, len(stream) - ROW, size=rows)
        ids = stream[starts[:, None] + np.arange(ROW)]
        return ids, ids

    def chat_batch(self, chats: tuple[Array, Array, Array], rows: int) -> tuple[Array, Array]:
        """`rows` windows of ROW tokens of the chat stream, each from the start of a chat; labels as stored."""
        ids, labels, starts = chats
        window = self.rng.choice(starts[starts < len(ids) - ROW], size=rows)[:, None] + np.arange(ROW)
        return ids[window], labels[window]

    def pretrain(self, stream: Array, heldout: dict[str, Array], seconds: float) -> None:
        """Next-token prediction for `seconds`: short warm-up, then a constant rate (the decay is the chat phase)."""
        rows = max(1, self.batch_tokens // ROW)
        start, step = time.monotonic(), 0
        while (elapsed := time.monotonic() - start) < seconds:
            rate = PEAK_RATE * min(1.0, (step + 1) / 150) * (1.0 - 0.35 * elapsed / seconds)
            loss = self._step(*self.text_batch(stream, rows), rate)
            step += 1
            if step % LOG_STEPS == 0 or step == 1:
                self._log("pretrain", step, loss, rate, elapsed)
            if step % (10 * LOG_STEPS) == 0:
                losses = {lang: round(self.heldout_loss(held), 4) for lang, held in heldout.items()}
                print("  held-out nats per token:", losses, flush=True)

    def instruct(self, stream: Array, chats: tuple[Array, Array, Array], seconds: float) -> None:
        """Chats (answer-only loss) and TEXT_SHARE of text, for `seconds`; the rate falls to zero as a cosine."""
        rows = max(2, self.batch_tokens // ROW)
        text_rows = max(1, round(TEXT_SHARE * rows))
        start, step = time.monotonic(), 0
        while (elapsed := time.monotonic() - start) < seconds:
            rate = CHAT_RATE * 0.5 * (1 + math.cos(math.pi * elapsed / seconds)) * min(1.0, (step + 1) / 30)
            text, chat = self.text_batch(stream, text_rows), self.chat_batch(chats, rows - text_rows)
            ids, labels = (np.concatenate([a.astype(np.int64), b]) for a, b in zip(text, chat, strict=True))
            loss = self._step(ids, labels, rate)
            step += 1
            if step % LOG_STEPS == 0 or step == 1:
                self._log("instruct", step, loss, rate, elapsed)

    def _log(self, phase: str, step: int, loss: torch.Tensor, rate: float, elapsed: float) -> None:
        progress = f"{self.tokens / 1e6:.1f} M tokens {elapsed:.0f} s"
        print(f"{phase} step {step} loss {float(loss):.3f} rate {rate:.1e} {progress}", flush=True)

    @torch.no_grad()
    def heldout_loss(self, stream: Array) -> float:
        """Mean nats per token over consecutive windows of ROW tokens."""
        rows = stream[: len(stream) // ROW * ROW].reshape(-1, ROW).astype(np.int64)
        losses = []
        for start in range(0, len(rows), 16):
            ids = torch.from_numpy(rows[start : start + 16]).to(self.device)
            with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
                losses += [float(self._loss(ids, ids))] * len(ids)
        return sum(losses) / len(losses)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the bf16 safetensors model and its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    model.float()
    tokenizer.save_pretrained(folder)
    # Without line breaks tokenizer.json is a third smaller, and the folder has a limit of 12 MB.
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":")) + "\n")
