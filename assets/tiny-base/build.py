"""Build tiny-base by one command: corpus, tokenizer, pretraining, instruction phase, evaluation, model folder.

    python build.py --data DATA --texts TEXTS --work WORK --out OUT --pretrain-seconds 300 --instruct-seconds 120

DATA holds support_kb, wiki, general, banking77; TEXTS holds the unpacked Debian packages (README.md). WORK receives
corpus.json, prepared/ (tokenizer, token arrays) and pretrained/ (the model before the instruction phase). What exists
there already is used, so an interrupted build goes on; DATA and TEXTS are needed only for corpus.json. OUT receives the
model, and measured.json from the evaluation. Not done here: anything on the network.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from measure import measure
from prepare import SEED, prepare, read_sources
from training import Trainer, new_model, save
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

ARRAYS = ("text", "heldout_en", "heldout_de", "chat_ids", "chat_labels", "chat_starts")


def main() -> None:
    """Parse the command line, then run the steps that WORK does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--texts"):
        parser.add_argument(name, type=Path)
    for name in ("--work", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--pretrain-seconds", type=float, default=300.0)
    parser.add_argument("--instruct-seconds", type=float, default=120.0)
    parser.add_argument("--batch-tokens", type=int, default=131072)
    parser.add_argument("--compile", action="store_true", help="torch.compile the training step")
    args = parser.parse_args()
    source, folder = args.work / "corpus.json", args.work / "prepared"
    if not source.exists():
        if args.data is None or args.texts is None:
            parser.error(f"{source} does not exist: give --data and --texts to make it")
        read_sources(args.data, args.texts, source)
    if not (folder / "questions.json").exists():
        prepare(source, folder)
    run(folder, args)


def run(folder: Path, args: argparse.Namespace) -> None:
    """Train on the prepared arrays, save after each phase, evaluate, write measured.json."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    arrays = {name: np.load(folder / f"{name}.npy") for name in ARRAYS}
    done = args.work / "pretrained"
    model = LlamaForCausalLM.from_pretrained(done, dtype="float32") if done.exists() else new_model(tokenizer, SEED)
    print("parameters", model.num_parameters(), {k: v.shape for k, v in arrays.items()}, flush=True)
    trainer = Trainer(model, args.batch_tokens, args.compile, SEED)
    held = {lang: arrays[f"heldout_{lang}"] for lang in ("en", "de")}
    if not done.exists():
        trainer.pretrain(arrays["text"], held, args.pretrain_seconds)
        save(model, tokenizer, done)
    chats = (arrays["chat_ids"], arrays["chat_labels"], arrays["chat_starts"])
    trainer.instruct(arrays["text"], chats, args.instruct_seconds)
    save(model, tokenizer, args.out)
    sizes = {lang: int((folder / f"heldout_{lang}.bytes").read_text()) for lang in held}
    losses = {lang: trainer.heldout_loss(stream) for lang, stream in held.items()}
    bits = {lang: losses[lang] / np.log(2) * len(held[lang]) / sizes[lang] for lang in held}
    results = measure(model.eval(), tokenizer, json.loads((folder / "questions.json").read_text()))
    results |= {"heldout_bits_per_byte": bits, "trained_tokens": trainer.tokens, "text_tokens": len(arrays["text"])}
    (args.out / "measured.json").write_text(json.dumps(results, indent=1, ensure_ascii=False))
    print(json.dumps({k: v for k, v in results.items() if k != "samples"}, indent=1))


if __name__ == "__main__":
    main()
