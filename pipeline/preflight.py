"""What a training, its evaluation and its export will need, checked before a card is waited for.

Output contract: `check` returns nothing where all of it is there, or raises one sentence: `MissingModelError` for a
base whose files are not whole, `ConfigError` for one that cannot be trained, merged or exported as the configuration
says, `InputError` for texts that are not there, `StorageError` for a disk that is too small. `cheap` is the part of it
that needs no weights and no run, for a plan. The verdict on a base's numbers is kept in this machine's cache.
This module changes nothing in a run and loads no weights into memory for longer than it looks at them.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, MissingModelError, StorageError, one_line
from pipeline.evaluate import bertscore, general_text
from pipeline.export import gguf, merge
from pipeline.models import architectures, memory, prompt_check, safetensors_io, template
from pipeline.models.load import find_folder, json_object
from pipeline.plan import cost_model
from pipeline.plan.shape import shape_in
from pipeline.storage import cache_folder, storage_errors, write_whole
from pipeline.train import lora_targets
from pipeline.train.data import general_rows
from pipeline.train.data.pack import check_lengths
from pipeline.train.loop import checkpoint

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Project
    from pipeline.models.load import Base
    from pipeline.run import Run

GIB = 1 << 30
CHECKPOINT = 36  # bytes per parameter of the adapter: float32 weights, two moments, and both again in two snapshots
GGUF_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_k_m": 0.62}  # per parameter of the model
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
_PLAIN = (
    "It's 12345 words, isn't it? We'LL see: e-mail_address@example.org, C:\\path, 3.14 x 10^6 = 100%.",
    "HELLO hello Hello camelCase snake_case ALL-CAPS  two   three    blanks\tand a tab",
    "first line\nsecond line\r\n\r\n\n\tfourth (line)",
    "cafe\u0301 and caf\u00e9, \ufb01ne \u2460 \uff21\uff22\uff23 \u00bd \u212b",
    "def f(x):\n    return {'a': [x, 1]}  # a comment",
)


def check(project: Project, base: Base, run: Run, console: Console) -> None:
    """Checks everything, what takes longest last, and prints what was checked; see the module."""
    cheap(project, base)
    _settings(project, base)
    needed, free = disk_bytes(project, base, run), shutil.disk_usage(run.local()).free
    if needed > free:
        raise StorageError(
            f"{run.uri} needs {needed / GIB:.1f} GiB for checkpoints, the merged model and GGUF files, and its disk "
            f"has {free / GIB:.1f} GiB free: free some, or take a run folder on a larger disk"
        )
    _weights(project, base)
    console.print(
        f"checked: weights, tokenizer, template and settings fit together; {needed / GIB:.1f} of {free / GIB:.1f} GiB "
        "free disk will be needed",
        markup=False,
    )


def cheap(project: Project, base: Base) -> None:
    """Checks what a base's configuration and tokenizer tell; a folder without a tokenizer passes here."""
    _no_pointers(base.folder)
    _no_adapter(base.folder)
    _served(project, base)
    _readable_tokenizer(base)
    if any((base.words / name).exists() for name in _TOKENIZERS):
        tokenizer = base.tokenizer()
        _same_ids(base, tokenizer)
        prompt_check.check(tokenizer)
        merge.generation_config(base.folder, tokenizer)
        with storage_errors(tempfile.gettempdir()):
            gguf.check(project, base)
    lora_targets.check(base, project.train.lora)
    check_lengths(project.train, base)


def _served(project: Project, base: Base) -> None:
    """Raises `ConfigError` for an architecture that does not train here, or that the engine does not serve."""
    architecture = architectures.of(base.config, base.name)
    if project.serve.engine == "hf" and not architecture.one_cache:
        raise ConfigError(
            f"serve.engine: hf has one kind of cache for all layers, and {architecture.name} needs several: set it to "
            "`vllm` or `gguf`"
        )


# -- the base's files -------------------------------------------------------------------------------------------------


def _no_pointers(folder: Path) -> None:
    """Raises `MissingModelError` where git-lfs has left an address in place of a file that is read."""
    rules = (folder / "tokenizer.json").is_file()
    patterns = ["*.json", "*.jinja", *([] if rules else ["*.model", "*.txt"])]
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file()):
        if safetensors_io.is_pointer(path):
            raise MissingModelError(f"{path} is a pointer of git-lfs, not the file: run `git lfs pull` there")


def _no_adapter(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise MissingModelError(f"{folder} holds an adapter (adapter_config.json): name the model it was merged into")


def _weights(project: Project, base: Base) -> None:
    """Holds the weights' names, shapes and numbers against the configuration; reads every one, once per content."""
    import torch

    safetensors_io.files(base.folder)
    for _ in safetensors_io.shapes(base.folder):  # every file opens
        pass
    causal = base.model(device="meta", dtype=torch.bfloat16)
    lora_targets.of(causal, project.train.lora)
    verdict = cache_folder() / "finite" / base.fingerprint
    if not verdict.is_file():
        safetensors_io.require_finite(base.folder)
        with contextlib.suppress(OSError, StorageError):
            write_whole(verdict, b"")


# -- the tokenizer ----------------------------------------------------------------------------------------------------


def _readable_tokenizer(base: Base) -> None:
    """Raises `ConfigError` for a tokenizer's file that cannot be read."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (base.words / name).is_file():
            json_object(base.words / name)
    if (base.words / "tokenizer.json").is_file():
        _file_tokenizer(base)


def _file_tokenizer(base: Base) -> Any:
    """Returns what `tokenizer.json` says, with nothing of transformers'."""
    from tokenizers import Tokenizer

    path = base.words / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # it raises nothing more special
        raise ConfigError(f"{path} cannot be read as a tokenizer: {one_line(error)}; download it again") from error


def _same_ids(base: Base, tokenizer: Any) -> None:
    """Raises `ConfigError` where transformers makes other tokens of a text than `tokenizer.json` says.

    For some types of model it keeps the vocabulary alone and puts rules of its own for normalising and splitting in
    place of the file's: 5.23 for Qwen2, Qwen3, Qwen3.5 and Gemma 3, and wherever a class with such rules is named.
    """
    from transformers import PreTrainedTokenizerFast

    if not (base.words / "tokenizer.json").is_file():
        return
    rules = _file_tokenizer(base)
    rules.add_tokens(list(tokenizer.added_tokens_decoder.values()))  # what tokenizer_config.json adds is meant
    named = {name: str(token) for name in _NAMED if (token := getattr(tokenizer, name)) is not None}
    plain = PreTrainedTokenizerFast(tokenizer_object=rules, chat_template=template.template_text(tokenizer), **named)
    for text, made, said in zip(*_samples(tokenizer), _samples(plain)[1], strict=True):
        if made != said or tokenizer.decode(said) != plain.decode(said):
            raise ConfigError(_other_rules(base, tokenizer, text, said, made))


def _samples(tokenizer: Any) -> tuple[list[str], list[list[int]]]:
    """Returns texts and their token ids as training makes them: in a conversation, and as documents."""
    texts = [*_PLAIN, *(part for pair in prompt_check.AWKWARD for part in pair)]
    asked = [template.chat_prompt(tokenizer, [{"role": "user", "content": text}]) for text in texts]
    return texts * 2, asked + template.text_ids(tokenizer, [text.strip() for text in texts])


def _other_rules(base: Base, tokenizer: Any, text: str, said: list[int], made: list[int]) -> str:
    from transformers import __version__

    shown = json.dumps(text if len(text) <= 60 else f"{text[:60]}...", ensure_ascii=False)
    does = f"transformers {__version__} makes {len(made)} tokens of {shown}, its tokenizer.json {len(said)}"
    if len(made) == len(said):
        does = f"transformers {__version__} makes other tokens of {shown} than its tokenizer.json says"
    return (
        f"{base.name}: {does}: it reads the file by the rules of {type(tokenizer).__name__}, for the model type "
        f"{base.config.get('model_type')}; {_remedy(base)}"
    )


def _remedy(base: Base) -> str:
    """Returns what to do: a class that reads the file as it is, where transformers heeds it for this type of model."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    named = "PreTrainedTokenizerFast"
    settings = base.words / "tokenizer_config.json"
    with tempfile.TemporaryDirectory() as place:
        for name in ("tokenizer.json", "config.json"):
            shutil.copyfile(base.words / name, Path(place, name))
        changed = {**(json_object(settings) if settings.is_file() else {}), "tokenizer_class": named}
        Path(place, settings.name).write_text(json.dumps(changed))
        heeded = type(AutoTokenizer.from_pretrained(place)) is PreTrainedTokenizerFast
    if heeded:
        return f'set "tokenizer_class": "{named}" in its tokenizer_config.json'
    return "it does so whatever tokenizer_config.json says, so take a base with the tokenizer of its type"


# -- the configuration ------------------------------------------------------------------------------------------------


def _settings(project: Project, base: Base) -> None:
    """Raises what the packages, models and texts that the configuration names are lacking in."""
    measured = project.evaluate
    if not any((base.words / name).exists() for name in _TOKENIZERS):
        raise MissingModelError(f"{base.words} has no tokenizer: tokenizer.json is missing")
    if project.train.quantise == "nf4" and find_spec("bitsandbytes") is None:
        raise MissingModelError("train.quantise: nf4 needs bitsandbytes: `pip install bitsandbytes`, or set it to null")
    general_rows.fingerprint_of(project)
    bertscore.check(measured.bertscore, measured.bertscore_layer)
    if measured.bertscore is not None:
        _encoder(find_folder(measured.bertscore))
    if measured.general is not None:
        general_text.files(str(measured.general))


def _encoder(folder: Path) -> None:
    """Raises `MissingModelError` where the files of BERTScore's encoder, which may be pickles, are not there."""
    _no_pointers(folder)
    names = [safetensors_io.SINGLE, safetensors_io.INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json"]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise MissingModelError(f"evaluate.bertscore: {folder} has no weights: download the encoder again")
    if safetensors_io.is_pointer(found[0]):
        raise MissingModelError(f"{found[0]} is a pointer of git-lfs, not the file: run `git lfs pull` there")


# -- the disk ---------------------------------------------------------------------------------------------------------


def disk_bytes(project: Project, base: Base, run: Run) -> int:
    """Returns the bytes that the stages which are not finished will take at once: checkpoints, merge and GGUF files."""
    adapter = cost_model.trainable(shape_in(base.config, base.name), project.train.lora)
    count, kinds = memory.parameters(base.folder), project.export.gguf
    model = 4 * count if project.export.dtype == "float32" else _size(safetensors_io.files(base.folder))
    # the best adapter and the one that is left, and a checkpoint that is written beside those that are kept
    stays, passes = adapter * (checkpoint.KEPT * CHECKPOINT + 2 * 4), adapter * CHECKPOINT
    if (there := run.local("checkpoints")).is_dir():
        stays = max(0, stays - _size(checkpoint.files_of(there)))
    merging = model * (2 if project.train.quantise else 1)
    files = sum(GGUF_BYTES[kind] * count for kind in {"f16", *kinds}) if kinds else 0
    trained, merged, converted = (run.manifest(stage) is not None for stage in ("train", merge.STAGE, gguf.STAGE))
    needs = [0 if trained else passes, 0 if merged else merging, 0 if converted else (0 if merged else model) + files]
    return int((0 if trained else stays) + max(needs))


def _size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
