"""The command line of every job: `python -m jobs.VERB CONFIG [--input PATH ...] --run DIR`.

Output contract: exit code 0 when the output is whole, 2 with one line on stderr for a user's mistake, 1 otherwise.
A verb's module holds what is particular to it; the work is in `pipeline` and `serve_app`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyarrow.fs import FileType
from rich.console import Console

from jobs import recorded
from pipeline import job_log
from pipeline.config import Project, load
from pipeline.errors import InputError, SolotuneError, UserError
from pipeline.run import Run
from pipeline.storage import refuse_credentials, storage_errors

LOG_WIDTH = 120  # columns of what a submitted job prints
UPLOADED = "runtime_resources/working_dir_files"  # where `ray job submit --working-dir` unpacks a folder

SETTINGS = {  # what a user sets in the environment stays
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait are slow as soon as processes share a core
}
PRIVATE = {  # for a Ray that ends with the job
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # seconds until all give up when its GCS is gone: it won't be back
    "RAY_AUTH_MODE": "token",  # its ports listen on every interface: nobody else may use them
}


@dataclass(frozen=True)
class Job:
    """A verb's arguments. `inputs` are absolute paths or URIs, `earlier` run folders; both are empty unless the verb
    makes the run folder. `options` maps the names of options to their values."""

    project: Project
    run: Run
    inputs: tuple[str, ...]
    console: Console
    earlier: tuple[Run, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def absolute_path(path: str) -> str:
    """Returns a path as an absolute one; a URI as it is.

    Raises `UserError` for a relative path inside a working folder that Ray uploaded, because what is written there
    vanishes, and for a URI that holds credentials.
    """
    refuse_credentials(path)
    if "://" in path or Path(path).is_absolute():
        return path
    if UPLOADED in str(Path.cwd()):
        raise UserError(f"'{path}' is relative, and this job runs in a copy of your folder: give it as $PWD/{path}")
    return str(Path(path).absolute())


def _deliberate(error: BaseException | None) -> SolotuneError | None:
    """Returns the error of ours that a Ray task raised, however often Ray has wrapped it.

    Ray's wrapper is an instance of our class too, but its text is a traceback: the cause it carries comes first.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, SolotuneError) and not isinstance(getattr(error, "cause", None), SolotuneError):
            return error
        seen.add(id(error))
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__
    return None


def start_ray() -> None:
    """Joins the cluster that runs this job or that `RAY_ADDRESS` names, or starts a private Ray."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith(("http://", "https://")) and "RAY_JOB_ID" not in os.environ:
        raise UserError(f"RAY_ADDRESS={address} takes jobs, not drivers: start this one with `ray job submit`")
    joins = "RAY_JOB_ID" in os.environ or bool(address)
    for name, value in {**SETTINGS, **({} if joins else PRIVATE)}.items():
        os.environ.setdefault(name, value)
    if not joins:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray

    # "local" and not the default, which would join any Ray that somebody started on this machine. What a worker prints
    # stays in Ray's logs: progress and errors reach the driver, which says them once.
    try:
        ray.init(
            address="auto" if joins else "local",
            include_dashboard=None if joins else False,
            log_to_driver=False,
            logging_level="WARNING",
        )
    except ConnectionError as error:
        where = f"at RAY_ADDRESS={address}" if address else "on this machine"
        raise UserError(f"no Ray cluster answers {where}, or not to this token (see docs/cluster.md)") from error


@contextlib.contextmanager
def one_line_errors(verb: str) -> Iterator[None]:
    """Turns a deliberate error into one line on stderr and its exit code; any other keeps its traceback."""
    try:
        yield
    except Exception as error:
        ours = _deliberate(error)
        if ours is None:
            raise
        print(f"{verb}: {str(ours).splitlines()[0]}", file=sys.stderr)  # Ray Data appends lines of its own
        raise SystemExit(ours.exit_code) from None


def console() -> Console:
    """Returns the console of a job: as wide as the terminal, or as a log is."""
    console = Console(highlight=False, record=True, emoji=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console


def main(
    verb: Callable[[Job], None],
    purpose: str,
    needs: str | None = None,
    needs_ray: bool = True,
    preview: Callable[[Job, int], None] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    alone: str | None = None,
) -> None:
    """Parses the command line, loads the configuration, calls the verb and turns an error into a line and a code.

    `needs` is the stage that an earlier job must have finished; without one the verb takes `--input` and makes the run
    folder. `preview` is called with N for `--preview [N]`, instead of the verb, without Ray; it writes nothing.
    `options` are the verb's own flags, each with its keyword arguments of `add_argument`; the one called `alone` makes
    the verb leave the run folder alone. A verb that does not need Ray in every case calls `start_ray` itself.
    """
    args = _parser(verb.__name__, purpose, needs is None, preview is not None, options or {}).parse_args()
    with one_line_errors(verb.__name__):
        job = _job(args, makes_run=needs is None)
        if alone is not None and job.options[alone]:
            verb(job)
            return
        if needs is not None:
            job.run.require(needs)
        changed = recorded.check(job.project, job.run, verb.__name__)
        if preview is not None and args.preview is not None:
            preview(job, args.preview)
            return
        if changed is not None:
            job.console.print(changed, markup=False)
        _work(verb, job, needs_ray)


def _job(args: argparse.Namespace, makes_run: bool) -> Job:
    """Returns what the command line asks for. A run folder is made once the configuration and all inputs are there."""
    project = load(args.config)
    inputs = tuple(map(_input, args.input)) if makes_run else ()
    earlier = tuple(Run.open(absolute_path(path), make=False) for path in args.earlier) if makes_run else ()
    for earlier_run in earlier:
        earlier_run.require("curate")
    run = Run.open(absolute_path(args.run), make=makes_run)
    return Job(project, run, inputs, console(), earlier, vars(args))


def _input(path: str) -> str:
    """Returns an input's absolute path or URI; raises `InputError` where there is nothing."""
    from pipeline.read.inputs.open_inputs import locate

    path = absolute_path(path)
    filesystem, path_in_it = locate(path)
    with storage_errors(path, "read"):
        if filesystem.get_file_info(path_in_it).type == FileType.NotFound:
            raise InputError(f"the input {path} does not exist")
    return path


def _parser(
    verb: str, purpose: str, takes_input: bool, previews: bool, options: Mapping[str, Mapping[str, Any]]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m jobs.{verb}", description=purpose)
    parser.add_argument("config", metavar="CONFIG", help="the model project's YAML file")
    if takes_input:
        several: dict[str, Any] = {"nargs": "+", "action": "extend"}  # `--input A --input B` is `--input A B`
        parser.add_argument("--input", **several, required=True, metavar="PATH", help="files, folders or URIs to read")
        parser.add_argument(
            "--earlier", **several, default=[], metavar="DIR", help="run folders whose rows this one must not repeat"
        )
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder: a path or a URI")
    if previews:
        parser.add_argument("--preview", nargs="?", type=int, const=3, metavar="N", help="show N rows, change nothing")
    for flag, settings in options.items():
        parser.add_argument(flag, **settings)
    return parser


def _work(verb: Callable[[Job], None], job: Job, needs_ray: bool) -> None:
    """Calls the verb, with what it is started with and what it prints kept in the run folder."""
    job.run.write_bytes("config.yaml", recorded.text(job.project))
    with job_log.kept(job.run, verb.__name__, job.console):
        if needs_ray:
            start_ray()
        verb(job)
        recorded.keep(job.project, job.run, verb.__name__)
