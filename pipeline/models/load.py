"""Loading a language model: from a folder or from the hub's cache, whole or NF4-quantised, with or without an adapter.

Output contract: `Base.load` returns a model in evaluation mode on its device (bf16 on CUDA, float32 on a CPU) and its
tokenizer. A name that exists as a folder never touches the network; a hub name is looked up, and downloaded where the
machine is online. Weights that cannot be had are a `MissingModelError`, never a different model.
This module does not attach a new adapter, train or generate.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config.values import model_path
from pipeline.errors import ConfigError, MissingModelError, MissingStageError, one_line
from pipeline.model_fingerprint import model_fingerprint
from pipeline.models import architectures, gguf_base
from pipeline.models.template import prepare_tokenizer, template_sha256, template_text

if TYPE_CHECKING:
    from pipeline.config import Project
    from pipeline.run import Run

ADAPTER = "model/adapter"
_WANTED = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt", "LICENSE*", "README.md"]


def device() -> str:
    """Returns `cuda` where this process sees a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def release() -> None:
    """Hands memory that nothing holds any more back to the accelerator."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def find_folder(name: str) -> Path:
    """Returns the local folder of a model: the path itself, what a GGUF file becomes, or the hub's snapshot in this
    machine's cache.

    Raises `MissingModelError` for a path that is not there, and for a hub name that is neither cached nor reachable.
    """
    path = Path(name)
    if path.is_absolute() and path.is_dir():
        return path
    if path.suffix == ".gguf" and path.is_file():
        return gguf_base.folder_of(path)
    if path.is_absolute() and model_path(path.name) == name:
        raise MissingModelError(f"{path.name} is not on this machine yet: run `python -m jobs.fetch {path.name}`")
    if path.is_absolute() or name.startswith("."):
        raise MissingModelError(f"no model folder at {name}: put the weights there or name another model")
    if name.count("/") != 1:
        raise MissingModelError(f"{name} is no folder, seen from the configuration file, and no hub name (org/model)")
    import httpx
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED))
    except errors.GatedRepoError as error:
        raise MissingModelError(
            f"{name} needs its licence accepted: do so on its page, then log in with `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise MissingModelError(
            f"the hub has no model {name} that this machine may read, and seen from the configuration file there is no "
            "such folder"
        ) from error
    except (
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
        errors.HfHubHTTPError,
        httpx.HTTPError,
    ) as error:
        raise MissingModelError(
            f"{name} is not in this machine's cache and the hub cannot be reached: download it where there is a "
            f"network (`hf download {name}`); seen from the configuration file there is no such folder either"
        ) from error


@dataclass(frozen=True)
class Base:
    """A language model that was looked up once: where it is and how conversations are rendered for it. Picklable."""

    name: str  # as the configuration or a person calls it
    folder: Path  # weights and configuration
    chat_template: str | None  # a Jinja file, `default`, or None: the one beside the tokenizer
    words: Path  # the tokenizer: the same folder, or that of an adapter

    @classmethod
    def of(cls, project: Project, name: str | None = None) -> Base:
        """Returns the project's base model, another one, or an adapter of it, rendered with the project's template.

        Raises what `find_folder` raises.
        """
        words = find_folder(name or project.base_model)
        whole = name is None or (words / "config.json").is_file()
        folder = words if whole else find_folder(project.base_model)
        return cls(name or project.base_model, folder, project.chat_template, words)

    @classmethod
    def at(cls, folder: Path) -> Base:
        """Returns the model in a folder, rendered as the folder says: a merged one."""
        return cls(str(folder), folder, None, folder)

    @classmethod
    def trained(cls, project: Project, run: Run) -> Base:
        """Returns the base model that the run's adapter was trained on, with the tokenizer and the template that the
        training left beside the adapter.

        Raises `MissingStageError` before `train`, and `ConfigError` where the project's base or its `chat_template` has
        other content than the training had.
        """
        base, recorded = cls.of(project), run.require("train")["inputs"].get("base")
        trained = replace(base, chat_template=None, words=run.local(ADAPTER))
        changed = "base" if recorded not in (None, base.fingerprint) else None
        if project.chat_template is not None and changed is None:
            same = template_sha256(base.tokenizer()) == template_sha256(trained.tokenizer())
            changed = None if same else "chat template"
        if changed is not None:
            raise ConfigError(
                f"the adapter in {run.uri} was trained with another {changed} than {base.name} has now: name that one, "
                "or run `jobs.train` again"
            )
        return trained

    @cached_property
    def fingerprint(self) -> str:
        """Hex digits that change with any content of the folder."""
        return model_fingerprint(str(self.folder))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of `config.json`; raises `MissingModelError` for a folder without one, and `ConfigError` for one
        that cannot be read."""
        return json_object(config_file(self.folder))

    @property
    def positions(self) -> int:
        """The most tokens that a sequence may have."""
        return int(architectures.text_part(self.config).get("max_position_embeddings") or sys.maxsize)

    def tokenizer(self) -> Any:
        """Returns the tokenizer with the template and a safe pad token; loads no weights.

        Raises `ConfigError` for one with more tokens than embeddings, and what `prepare_tokenizer` raises.
        """
        from transformers import AutoTokenizer

        size = embeddings(self.folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.words)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.words} holds no tokenizer that can be loaded: {one_line(error)}") from error
        unused = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        unused -= set(tokenizer.special_tokens_map.values())
        prepared = prepare_tokenizer(tokenizer, self.chat_template)
        unused = {token for token in unused if token not in template_text(prepared)}  # nothing can write it
        beyond = {number: text for text, number in prepared.get_vocab().items() if number >= size}
        if needed := [number for number, text in sorted(beyond.items()) if text not in unused]:
            raise ConfigError(
                f"the tokenizer of {self.name} has tokens without an embedding, such as `{beyond[needed[0]]}` (id "
                f"{needed[0]}, the model has {size} embeddings): take them out of its files or name a model that has "
                "them"
            )
        return prepared

    def load(
        self,
        quantise: Literal["nf4"] | None = None,
        device: str = "cpu",
        attention: str = "sdpa",
        dtype: Any = None,
    ) -> tuple[Any, Any]:
        """Loads the causal language model and its tokenizer; raises what `tokenizer` and `model` raise."""
        tokenizer = self.tokenizer()
        return self.model(quantise, device, attention, dtype), tokenizer

    def model(
        self,
        quantise: Literal["nf4"] | None = None,
        device: str = "cpu",
        attention: str = "sdpa",
        dtype: Any = None,
    ) -> Any:
        """Loads the causal language model alone.

        `dtype` (of what is not quantised) is bf16 on CUDA and float32 on a CPU unless given. NF4 is double-quantised
        and computes in that type. Raises `MissingModelError`, or `ConfigError` for a folder that holds no such model.
        """
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        dtype = dtype or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
        options = {} if quantise is None else {"quantization_config": _nf4(dtype)}
        options |= {"dtype": dtype, "device_map": {"": device}, "attn_implementation": attention, **self._text_alone()}
        logging.disable_progress_bar()
        level = logging.get_verbosity()
        logging.set_verbosity_error()  # a table of the eyes and ears that a text part lacks
        try:
            model, info = AutoModelForCausalLM.from_pretrained(
                self.folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.name} cannot be loaded as a causal language model: {one_line(error)}") from error
        finally:
            logging.set_verbosity(level)
        if lacking := sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}):
            raise ConfigError(
                f"the weights of {self.name} lack {len(lacking)} tensors of the model in its config.json, or have them "
                f"in other shapes, such as {lacking[0]}: download it again"
            )
        _never_repack(model)
        return model.eval()

    def _text_alone(self) -> dict[str, Any]:
        """Returns what makes transformers load the text part alone, of a model that also sees or hears."""
        from transformers import AutoConfig

        whole = AutoConfig.from_pretrained(self.folder)
        text = whole.get_text_config()
        if text is whole:
            return {}
        text.tie_word_embeddings = bool(architectures.text_part(self.config).get("tie_word_embeddings"))
        return {"config": text, "key_mapping": architectures.TEXT_NAMES}


def json_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file of a model; raises `ConfigError` where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is no JSON object")
    return found


def config_file(folder: Path) -> Path:
    """Returns a model folder's configuration; raises `MissingModelError` for a folder without one."""
    if not (path := folder / "config.json").is_file():
        raise MissingModelError(f"{folder} holds no model: config.json is missing")
    return path


def embeddings(folder: Path) -> int:
    """Returns how many tokens a model folder's configuration has embeddings for."""
    from transformers import AutoConfig

    config_file(folder)
    try:
        return int(AutoConfig.from_pretrained(folder).get_text_config().vocab_size)
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{folder} cannot be loaded as a causal language model: {error}") from error


def _nf4(dtype: Any) -> Any:
    """Returns transformers' settings for NF4 with double quantisation that computes in `dtype`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _never_repack(model: Any) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights in a no-grad pass on AVX512-BF16 CPUs.

    After such a pass most LoRA gradients are exactly zero, silently (bitsandbytes 0.50, `Linear4bit.forward`).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def attach(model: Any, adapter: Path) -> Any:
    """Returns the model with a saved adapter, in evaluation mode."""
    from peft import PeftModel

    if not (adapter / "adapter_model.safetensors").is_file():
        raise MissingStageError(f"{adapter} holds no adapter: run `jobs.train` on this run folder first")
    with quiet_peft():
        return PeftModel.from_pretrained(model, str(adapter)).eval()


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Silences peft 0.21 where it reads `is_gradient_checkpointing`, which transformers 5.23 has renamed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
