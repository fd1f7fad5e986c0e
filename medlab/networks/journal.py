"""The journal of a training: progress, checkpoint rule, and the state from which a killed run goes on."""

import json
import os
import shutil
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from medlab import reach, storage
from medlab.networks.pipeline import keras, tf

METRICS = {"loss": np.less, "auc": np.greater, "last": None}


def key(settings: dict, *files: Path, code: tuple = ()) -> str:
    """Digest of everything a saved state depends on; a state with another key is not continued.

    Parameters
    ----------
    settings : parameters, and the cells that use them
    files : files that the training reads
    code : modules that train; what they reach by imports counts with them
    """
    return storage.digest_of([settings, *map(storage.digest, files), reach.fingerprint(*code)])


def _say(text):
    print(text, file=sys.stderr, flush=True)


class Journal(keras.callbacks.Callback):
    """Keeps the books of a training: progress lines, history.csv, best weights, the state to resume from.

    Everything needed to go on is written after each epoch into one folder that replaces the former one by a
    rename, so that weights, best weights and history always belong together; a kill at any moment loses at
    most one epoch. With `ema` in the optimizer, validation and the best weights use the averaged weights.

    Parameters
    ----------
    folder : Path
        Run folder; the state lives in `state` there, after `finish` only the chosen weights of it, the history in
        `history_file`.
    key : str
        See `key`.
    checkpoint : str
        ``loss`` (lowest validation loss), ``auc`` (highest validation AUC, of survival C), ``dice`` or ``last``.
    patience : int
        Stop after so many epochs without improvement by that rule; 0 never.
    rank : str
        Name of the metric behind ``auc``: the C of an output of a survival network.
    """

    def __init__(self, folder, key, *, epochs, n_images, checkpoint="loss", patience=0, rank="auc", state="03_state",
                 history_file="history.csv"):
        super().__init__()
        if checkpoint not in METRICS:
            raise ValueError(f"checkpoint {checkpoint!r} is unknown; expected one of {', '.join(METRICS)}")
        self.folder, self.key, self.epochs, self.n_images = Path(folder), key, epochs, n_images
        self.checkpoint, self.patience, self.rank = checkpoint, patience, rank
        self.state, self.rows, self.note = self.folder / state, [], ""
        self.history_file = self.folder / history_file
        self.epoch, self.best, self.stopped, self._pending = 0, None, False, False
        self._find()

    def _find(self):
        """Look for a state of this very training: the current one, or the former if a kill came between."""
        for place in (self.state, self.state.with_suffix(".former")):
            if not place.is_dir():
                continue
            try:
                facts = json.loads((place / "state.json").read_text())
                if facts["key"] != self.key:
                    self.note = "a state saved with other parameters, data or code was not used"
                    continue
                for name, digest in facts["files"].items():
                    if storage.digest(place / name) != digest:
                        raise ValueError(f"{name} is damaged")
                history = pd.read_csv(place / "history.csv", float_precision="round_trip")
                self.rows = history.to_dict("records")
                self.epoch, self.best, self._pending = facts["epoch"], facts["best"], True
                self.chance, self.stopped = facts["chance"], facts.get("stopped", False)
                how = "resumed after" if "now.weights.h5" in facts["files"] else "trained before, to"
                self.source, self.note = place, f"{how} epoch {self.epoch}"
                return
            except (OSError, ValueError, KeyError, TypeError) as error:
                self.note = f"the saved state was unusable ({error}); training starts anew"

    def on_train_begin(self, logs=None) -> None:
        if not self.model.optimizer.built:  # Keras builds it only with the first step; the averages live there
            self.model.optimizer.build(self.model.trainable_variables)
        if self._pending:
            self._pending = False
            self.model.load_weights(self.source / "now.weights.h5")
            for chance, value in zip(self._chance(), self.chance, strict=True):
                chance.assign(value)
        if self.note:
            _say(self.note)
        self._averages = getattr(self.model.optimizer, "_model_variables_moving_average", None)
        self._averages = self._averages if self.model.optimizer.use_ema else None

    def _chance(self):
        """State of the random generators of dropout layers, which Keras leaves out of the weights."""
        weights = {id(weight) for weight in self.model.weights}
        return [state for state in self.model.variables if id(state) not in weights]

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None) -> None:
        if not np.isfinite(logs["loss"]):
            raise ValueError(f"the training loss became {logs['loss']} in epoch {self.epoch + 1}, batch "
                             f"{batch + 1}; expected a finite number: lower learning_rate, or look for broken "
                             "images in 01 and 02")

    def swap(self) -> None:
        """Exchange weights and their running averages."""
        for weight, average in zip(self.model.trainable_variables, self._averages or [], strict=False):
            value = tf.identity(weight.value)
            weight.assign(average.value)
            average.assign(value)

    def on_test_begin(self, logs=None) -> None:
        self.swap()

    def on_test_end(self, logs=None) -> None:
        self.swap()

    def _judged(self):
        return f"val_{self.rank if self.checkpoint == 'auc' else self.checkpoint}"

    def better(self, logs) -> bool:
        """Is this epoch the one to keep so far?"""
        value = logs.get(self._judged())
        rule = METRICS[self.checkpoint]
        first = self.best is None or np.isnan(self.best["value"])
        return rule is None or value is None or first or bool(rule(value, self.best["value"]))

    def on_epoch_end(self, epoch, logs=None) -> None:
        seconds = time.perf_counter() - self.start
        self.epoch = epoch + 1
        row = {"epoch": self.epoch, **{name: float(value) for name, value in logs.items()},
               "seconds": seconds, "images_per_second": self.n_images / seconds,
               "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))}
        self.rows.append(row)
        better = self.better(row)
        if better:
            self.best = {"epoch": self.epoch, "value": row.get(self._judged(), row["loss"])}
        self._save(better)
        _say(self.line(row))
        if self.patience and self.epoch - self.best["epoch"] >= self.patience:
            self.model.stop_training = self.stopped = True

    def line(self, row) -> str:
        """Progress of one epoch in one line."""
        shown = [name for name in ("loss", "val_loss", f"val_{self.rank}") if name in row]
        values = "  ".join(f"{name} {row[name]:.4f}" for name in shown)
        left = np.median([r["seconds"] for r in self.rows[-5:]]) * (self.epochs - self.epoch)
        end = f", until {time.strftime('%H:%M', time.localtime(time.time() + left))}" if left > 60 else ""
        return (f"epoch {self.epoch}/{self.epochs}  {values}  {row['seconds']:.1f} s  "
                f"{row['images_per_second']:.0f} images/s  about {left / 60:.1f} min left{end}")

    def _save(self, better):
        fresh, former = self.state.with_suffix(".new"), self.state.with_suffix(".former")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        self.model.save_weights(fresh / "now.weights.h5")
        if better:
            self.swap()
            self.model.save_weights(fresh / "best.weights.h5")
            self.swap()
        else:
            os.link(self.state / "best.weights.h5", fresh / "best.weights.h5")
        self.history().to_csv(fresh / "history.csv", index=False)
        files = {path.name: storage.digest(path) for path in fresh.iterdir()}
        facts = {"key": self.key, "epoch": self.epoch, "best": self.best, "files": files,
                 "chance": [keras.ops.convert_to_numpy(state).tolist() for state in self._chance()]}
        (fresh / "state.json").write_text(json.dumps(facts))
        shutil.rmtree(former, ignore_errors=True)
        if self.state.exists():
            self.state.rename(former)
        fresh.rename(self.state)
        shutil.rmtree(former, ignore_errors=True)
        self._show_history(self.state)

    def _show_history(self, place):
        storage.write_atomically(self.history_file, lambda path: shutil.copy2(place / "history.csv", path))

    def history(self) -> pd.DataFrame:
        """One row per epoch, earlier parts of a resumed training included."""
        return pd.DataFrame(self.rows)

    def finish(self, model) -> keras.Model:
        """Give `model` the weights chosen by the checkpoint rule.

        They and the history stay in the state, what only an unfinished training needs is removed: the same training
        is not repeated when something behind it changes, such as whether the test part is opened.
        """
        place = self.source if self._pending else self.state
        if (place / "best.weights.h5").exists():
            with warnings.catch_warnings():  # of the optimizer that wrote them nothing is needed
                warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
                model.load_weights(place / "best.weights.h5")
            facts = json.loads((place / "state.json").read_text()) | {"stopped": self.stopped}
            facts["files"].pop("now.weights.h5", None)
            storage.write_json(place / "state.json", facts)
            (place / "now.weights.h5").unlink(missing_ok=True)
            if self._pending:  # nothing was left to train
                _say(self.note)
                self._show_history(place)
            if place != self.state:
                shutil.rmtree(self.state, ignore_errors=True)
                place.rename(self.state)
        for suffix in (".new", ".former"):
            shutil.rmtree(self.state.with_suffix(suffix), ignore_errors=True)
        return model
