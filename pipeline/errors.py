"""Every error solotune raises on purpose.

    SolotuneError
    ├── UserError                  exit code 2: the user can put it right
    │   ├── ConfigError            a YAML file that does not say what it must
    │   ├── InputError             a dump, column map or path that cannot be read
    │   ├── MissingModelError      weights or a package that a config names and this machine lacks
    │   ├── MissingStageError      a job that needs the output of a job not yet run
    │   ├── GateError              a model that is not as good as the one it is made from: not published
    │   └── StorageError           a path or URI that cannot be read or written (full disk, no permission)
    ├── PreemptedError             exit code 75: the machine is going away, the work is saved; the same command goes on
    ├── DivergedError              exit code 1: a training that its own rollbacks could not save
    ├── MemoryShortError           exit code 1: more memory is needed than the machine has, however frugal the settings
    ├── WorkerLostError            exit code 1: the process that did the work died, again and again
    └── IntegrityError             exit code 1: counts that do not reconcile, a corrupt file; report it

A message says what happened, where, and what to do. It quotes ids, paths and line numbers, never row text or secrets.
This module does not print and does not exit: `jobs` turns an error into a line and an exit code.
"""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """Returns what an error says, without line breaks."""
    return " ".join(str(error).split())


class SolotuneError(Exception):
    """Root of the tree; `exit_code` is the one of the job's process."""

    exit_code = 1


class UserError(SolotuneError):
    """An error that the user can put right."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration file with an unknown key, a wrong type or an impossible value."""


class InputError(UserError):
    """A dump, column map or path that cannot be read, recognised or mapped."""


class MissingModelError(UserError):
    """Model weights or an optional package that the config names and this machine does not have."""


class MissingStageError(UserError):
    """The output of an earlier job is not in the run folder."""


class GateError(UserError):
    """A merged or quantised model that missed its gate, which the user may widen; it was not published."""


class StorageError(UserError):
    """A run folder or a file of ours that cannot be read or written (full disk, no permission)."""


class PreemptedError(SolotuneError):
    """The machine is going away; the work is saved, and the same command continues it."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later


class DivergedError(SolotuneError):
    """A training whose loss or gradients went wrong again after every rollback."""


class MemoryShortError(SolotuneError):
    """More memory is needed than the machine has, with the most frugal settings."""


class WorkerLostError(SolotuneError):
    """The process that did the work died more often than it may be started again."""


class IntegrityError(SolotuneError):
    """A result that contradicts itself (rows lost, a checksum that does not match); to be reported."""
