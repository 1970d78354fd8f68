"""Measures how well tiny-base rephrases: sampled as the demo samples it, counted by rules anyone can recompute.

Output: `measure` gives, per question set, the shares of variants that are in the right language, lie between 0.2 and
0.7 ROUGE-L of their question, keep every number and placeholder, end by themselves, and all four; plus samples.
Not done here: judging meaning (read the samples), perplexity (training.py).
"""

import re

import torch
from paraphrases import INSTRUCTION, kept_tokens, rouge_l
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

TEMPERATURE, TOP_P, NEW_TOKENS = 0.8, 0.9, 96
OPENINGS = ["The ", "To reset your password", "If the payment fails", "Um die Karte", "Die Bestellung"]
_FUNCTION_WORDS = {
    "en": "the a an is are was my i you to of and in it that for on not do have has can what how why with this me be",
    "de": "der die das ist sind wurde mein meine ich sie zu von und in es dass für auf nicht habe hat kann was wie",
}


def language(text: str) -> str:
    """The language with more function words in `text`."""
    words = re.findall(r"\w+", text.lower())
    return max(_FUNCTION_WORDS, key=lambda lang: sum(w in _FUNCTION_WORDS[lang].split() for w in words))


@torch.no_grad()
def generate(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    sample: bool,
    new_tokens: int = NEW_TOKENS,
) -> list[str]:
    """Continuations of rendered prompts; a continuation that did not end by itself carries a trailing "…"."""
    tokenizer.padding_side = "left"
    batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False, return_token_type_ids=False)
    settings = (
        {"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0} if sample else {"do_sample": False}
    )
    tokens = model.generate(
        **batch.to(model.device),
        max_new_tokens=new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **settings,
    )
    texts = []
    for row in tokens[:, batch["input_ids"].shape[1] :].tolist():
        ended = tokenizer.eos_token_id in row
        texts.append(tokenizer.decode(row, skip_special_tokens=True) + ("" if ended else "…"))
    return texts


def rephrase(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: list[list[str]], sample: bool
) -> list[str]:
    """One variant for each [question, lang]."""
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": INSTRUCTION[lang] + question}], tokenize=False, add_generation_prompt=True
        )
        for question, lang in questions
    ]
    return generate(model, tokenizer, prompts, sample)


def measure(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sets: dict[str, list[list[str]]]
) -> dict[str, object]:
    """Shares per question set, and samples: 10 sampled variants a set and a greedy continuation of each opening."""
    torch.manual_seed(0)
    shares: dict[str, dict[str, float]] = {}
    samples: dict[str, list[list[str]]] = {}
    for name, questions in sets.items():
        variants = rephrase(model, tokenizer, questions, sample=True)
        checks = []
        for (question, lang), variant in zip(questions, variants, strict=True):
            near = 0.2 <= rouge_l(question, variant) <= 0.7
            kept = kept_tokens(question) - {"<PERSON>"} <= kept_tokens(variant)
            checks.append([language(variant) == lang, near, kept, not variant.endswith("…")])
        columns = ("right language", "rouge 0.2-0.7", "kept numbers and placeholders", "ended")
        shares[name] = {c: sum(col) / len(checks) for c, col in zip(columns, zip(*checks, strict=True), strict=True)}
        shares[name]["all four"] = sum(all(c) for c in checks) / len(checks)
        samples[name] = [[q, v] for (q, _), v in list(zip(questions, variants, strict=True))[:10]]
    greedy = generate(model, tokenizer, [tokenizer.bos_token + o for o in OPENINGS], sample=False, new_tokens=50)
    samples["greedy continuations"] = [[o, text] for o, text in zip(OPENINGS, greedy, strict=True)]
    for name, rows in samples.items():
        print("##", name)
        for before, after in rows:
            print(f"  {before!r}\n    -> {after!r}", flush=True)
    return {"rephrase": shares, "samples": samples}
