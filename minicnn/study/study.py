"""A study: many runs that differ in a few options, chosen by a grid, at random, or from what earlier trials showed.

Optuna keeps the trials in ``study.journal`` (a line a change) and chooses; every trial is an ordinary run folder under
``trials/``. A study that was stopped goes on where it was: finished trials count, running ones resume.
"""

import os
import threading
import tomllib
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from minicnn.errors import ArgumentError
from minicnn.files import write_atomically
from minicnn.study.space import Space
from minicnn.study.trial_run import Outcome, run_trial
from minicnn.train.args import TrainArgs
from minicnn.train.interrupt import Interrupted
from minicnn.train.lock import locked

SAMPLERS = ("grid", "random", "bayes")
PRUNERS = ("median", "halving", "none")
STARTUP_TRIALS = 4  # that nobody prunes: there must be something to compare with


@dataclass(frozen=True)
class StudyArgs:
    """How trials are chosen. ``trials`` 0: all of a grid. **Raises** ArgumentError for a value out of range."""

    sampler: str = "bayes"
    pruner: str = "median"
    trials: int = 20
    workers: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, allowed in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if value not in allowed:
                raise ArgumentError(f"study: {name}={value!r} is unknown, expected one of {', '.join(allowed)}")
        for name, low, high in (("trials", 0, 10_000), ("workers", 1, 256), ("seed", 0, 2**31 - 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ArgumentError(f"study: {name}={value!r}, expected {low} to {high}")
        if not self.trials and self.sampler != "grid":
            raise ArgumentError(f"study: trials=0 is all of a grid, but the sampler is {self.sampler}")


class Study:
    """The trials of a folder, and what chooses the next."""

    def __init__(self, folder: Path, space: Space, args: StudyArgs) -> None:
        optuna = _optuna()
        self.folder, self.space, self.args = folder, space, args
        self.epochs = TrainArgs.of(space.args).epochs if "epochs" not in space.entries else 0
        self.optuna = optuna.create_study(
            storage=_storage(optuna, folder / "study.journal"),
            study_name="study",
            direction="maximize",
            load_if_exists=True,
            pruner=self._pruner(optuna),
        )
        done = len(self.optuna.get_trials(deepcopy=False))
        # another seed each time the study goes on: the same would choose the same trials again
        kind = optuna.samplers.TPESampler if args.sampler == "bayes" else optuna.samplers.RandomSampler
        self.optuna.sampler = kind(seed=args.seed + done)
        if args.sampler == "grid" and not done:
            for point in space.grid()[: args.trials or None]:
                self.optuna.enqueue_trial(point)
        self.goal = args.trials or len(space.grid())
        self._asking = threading.Lock()
        self._interrupted = [t for t in self.optuna.get_trials(deepcopy=False) if t.state.name == "RUNNING"]
        self._begun = done - len(self._interrupted) - self._waiting()

    @classmethod
    def create(cls, folder: Path, space: Space, args: StudyArgs) -> "Study":
        """**Raises** ArgumentError for a folder with files in it."""
        if folder.is_dir() and any(folder.iterdir()):
            raise ArgumentError(f"study: {folder} is not empty; fix: another --out, or --resume {folder}")
        space.grid() if args.sampler == "grid" else None
        _optuna()
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, space, args)
        return cls(folder, space, args)

    @classmethod
    def open(cls, folder: Path, **changed: Any) -> "Study":
        """Go on with a study; ``changed`` replaces ``trials`` and ``workers``.

        **Raises** ArgumentError for what is no folder of a study, and a study.toml that was edited wrongly.
        """
        path = folder / "study.toml"
        if not path.is_file():
            raise ArgumentError(f"{folder} is not the folder of a study: it has no {path.name}")
        space = Space.read(path)
        given, known = tomllib.loads(path.read_text(encoding="utf-8")).get("study"), [f.name for f in fields(StudyArgs)]
        if not isinstance(given, dict) or not set(given) <= set(known):
            found = ", ".join(given) if isinstance(given, dict) else "none"
            raise ArgumentError(f"{path}: expected a table [study] with {', '.join(known)}; found {found}")
        args = StudyArgs(**{**given, **changed})
        _write(folder, space, args)
        return cls(folder, space, args)

    def _pruner(self, optuna: Any) -> Any:
        if self.args.pruner == "halving":
            return optuna.pruners.SuccessiveHalvingPruner()
        if self.args.pruner == "none":
            return optuna.pruners.NopPruner()
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=max(1, self.epochs // 4))

    def _waiting(self) -> int:
        return sum(t.state.name == "WAITING" for t in self.optuna.get_trials(deepcopy=False))

    # ---- running

    def run(self, told: Callable[[int, dict[str, Any], Outcome], None] = lambda *_: None) -> None:
        """Run trials until there are as many as asked for; ``told`` hears of each that ends.

        **Raises** Interrupted after Ctrl-C, once running trials are saved; ArgumentError while another process runs
        this study.
        """
        stop = threading.Event()
        with locked(self.folder), ThreadPoolExecutor(self.args.workers, "minicnn-study") as pool:
            workers = [pool.submit(self._work, stop, told) for _ in range(self.args.workers)]
            try:
                while not all(worker.done() for worker in workers):  # a wait without end would not hear Ctrl-C
                    done, _ = wait(workers, 1.0, FIRST_EXCEPTION)
                    if any(worker.exception() for worker in done):
                        break
            except KeyboardInterrupt:
                stop.set()
                raise Interrupted from None
            finally:
                if any(worker.done() and worker.exception() for worker in workers):
                    stop.set()
        for worker in workers:
            worker.result()

    def _work(self, stop: threading.Event, told: Callable[[int, dict[str, Any], Outcome], None]) -> None:
        while not stop.is_set():
            asked = self._next()
            if asked is None:
                return
            trial, options = asked
            folder = self.folder / "trials" / f"{trial.number:04}"
            threads = max(1, (os.cpu_count() or 1) // self.args.workers)
            outcome = run_trial(options, folder, threads, partial(self._report, trial), stop)
            if outcome.state != "stopped":
                self._tell(trial, outcome)
                told(trial.number, trial.params, outcome)

    def _next(self) -> tuple[Any, dict[str, Any]] | None:
        """The next trial and its options: one that was interrupted, else a new one; None when there are enough."""
        with self._asking:
            if self._interrupted:
                trial = _optuna().trial.Trial(self.optuna, self._interrupted.pop(0)._trial_id)
            elif self._begun >= self.goal or (self.args.sampler == "grid" and not self._waiting()):
                return None
            else:
                trial = self.optuna.ask()
            self._begun += 1
            return trial, self.space.suggest(trial)

    def _report(self, trial: Any, accuracies: list[float]) -> bool:
        """Tell Optuna of epochs it does not know; whether it would rather stop."""
        known = self.optuna.get_trials(deepcopy=False)[trial.number].intermediate_values
        for epoch, accuracy in enumerate(accuracies, 1):
            if epoch not in known:
                trial.report(accuracy, epoch)
        return bool(trial.should_prune())

    def _tell(self, trial: Any, outcome: Outcome) -> None:
        states = _optuna().trial.TrialState
        if outcome.test_accuracy is not None:
            trial.set_user_attr("test_accuracy", outcome.test_accuracy)
        if outcome.error:
            trial.set_user_attr("error", outcome.error)
        state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[outcome.state]
        self.optuna.tell(trial, max(outcome.accuracies) if outcome.state == "complete" else None, state=state)


def _write(folder: Path, space: Space, args: StudyArgs) -> None:
    import tomli_w

    text = tomli_w.dumps({"study": asdict(args), **space.tables()})
    write_atomically(folder / "study.toml", [text.encode()])


def _storage(optuna: Any, path: Path) -> Any:
    """A file that survives a kill at any moment, and that no more than a lock file guards: it works on any system."""
    journal = optuna.storages.journal
    return optuna.storages.JournalStorage(
        journal.JournalFileBackend(str(path), lock_obj=journal.JournalFileOpenLock(str(path)))
    )


def _optuna() -> Any:
    try:
        import optuna
        import optuna.storages.journal
    except ImportError as error:
        raise ArgumentError(f"study needs Optuna ({error}); fix: pip install 'minicnn[study]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
