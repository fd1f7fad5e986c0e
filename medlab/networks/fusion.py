"""The network of a unit: its images, clinical table and radiomics, alone and together, to a label and to survival.

A unit is a patient with images and a table, or an image by itself, which is a unit with one image and no table. Each
kind of input has an output of its own with a loss of its own, so that one training gives the image network, the table
network and the fused one on the same patients, and a patient who lacks images still has an answer.
"""

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary
from medlab.networks import models, pipeline, priors
from medlab.networks.pipeline import keras
from medlab.statistics import cox

layers, ops = keras.layers, keras.ops
FUSIONS = ("equal", "joint")
MOST_IMAGES, POOLING = 8, "attention"  # of a patient: more images cost time and say little that is new
MISSING = 0.1  # share of the patients whose images a joint fusion is not given in training: it learns to do without
MANY_EVENTS, TABLE_UNITS = 300, "128, 64"  # from so many events on a network on the table beats a linear part


def units(table, most=MOST_IMAGES, by="patient") -> tuple:
    """What one example is, and the rows of its images.

    Parameters
    ----------
    table : DataFrame
        split.parquet: ``patient_id``, ``split``, ``has_image``, and what is known of the patient.
    most : int
        Images per patient at most; of more, evenly spaced ones are taken.
    by : str
        ``patient``, or ``image``: every image is an example of its own.

    Returns
    -------
    units : DataFrame
        One row per patient of train, val and test, the first of the patient's in the table; ``n_images``.
    rows : (m, k) int array
        Rows of images.npy, -1 where there is no (further) image; k is 0 where nobody has one.
    first : (m,) int array
        Row of the table (and of covariates.parquet) that stands for the unit.
    """
    has = table["has_image"].to_numpy(bool) if "has_image" in table else np.ones(len(table), bool)
    used = table["split"].isin(["train", "val", "test"]).to_numpy() & (has | (by == "patient"))
    places, names = np.flatnonzero(used), table["patient_id"].astype(str).to_numpy()
    codes = pd.factorize(names[places])[0] if by == "patient" else np.arange(len(places))
    order = np.argsort(codes, kind="stable")
    own = np.split(places[order], np.flatnonzero(np.diff(codes[order])) + 1) if len(places) else []
    pictured = [rows[has[rows]] for rows in own]
    k = min(most, max((len(rows) for rows in pictured), default=0))
    found, first = np.full((len(own), k), -1), np.array([rows[0] for rows in own], int)
    for target, rows in zip(found, pictured, strict=True):
        rows = rows if len(rows) <= k else rows[np.round(np.linspace(0, len(rows) - 1, k)).astype(int)]
        target[:len(rows)] = rows
    return table.iloc[first].reset_index(drop=True).assign(n_images=[len(rows) for rows in pictured]), found, first


def inputs_of(covariates, rows=None, by="patient") -> dict:
    """What the network gets beside the images, float32.

    Parameters
    ----------
    covariates : DataFrame, a row for each unit; rows : (m, k) and by : see `units`

    Returns
    -------
    dict
        Of a patient table (m, t) and radiomics (m, r), where there are such columns; of every unit with images
        present (m, k), 1 where there is an image.
    """
    clinical, radiomics = vocabulary.parts_of(covariates) if by == "patient" else ([], [])
    given = {"table": covariates[clinical], "radiomics": covariates[radiomics]}
    given = {name: part.to_numpy("float32") for name, part in given.items() if part.shape[1]}
    return given if rows is None or not rows.shape[1] else given | {"present": (rows >= 0).astype("float32")}


def by_events(events, pictured) -> dict:
    """How free a survival network may be with so many events in training: options of `build`.

    The plainest below `MANY_EVENTS` (equal weights, linear in the table, as a Cox model); beside images the table stays
    linear.
    """
    many = events >= MANY_EVENTS
    return {"fusion": "joint" if many else "equal", "units": TABLE_UNITS if many and not pictured else ""}


def create(name, images, given, y, *, label=None, cuts=None, prior=None, **options) -> keras.Model:
    """An untrained network for units like these, the linear parts of its tables at the ridge Cox model.

    Parameters
    ----------
    name : str
        Network of the images, see `models.features`.
    images : array of images.npy, or None
    given : dict of `inputs_of`, of the training units
    y : dict of `training.targets`, of the training units: what is learnt
    label : (kind, n_outputs), optional
        Head of the label, see `models.head`.
    cuts : edges of the intervals of a discrete-time head; None: log risks for a Cox loss
    prior : dict of `priors`
    options : further ones of `build`, such as those by `by_events`, and of `models.features`
    """
    survival, pictured = y.get("survival"), "present" in given
    sizes = {part: given[part].shape[1] for part in priors.TABLES if part in given}
    if not pictured and not sizes:
        raise ValueError("neither images nor a covariate that notebook 02 could use in the training part (it says why "
                         "under Covariates): nothing to learn from; choose a larger training part, or leave this "
                         "notebook out with steps")
    model = build(name if pictured else "", images.shape[1:] if pictured else None,
                  given["present"].shape[1] if pictured else 0, sizes, survival=survival is not None, label=label,
                  n_intervals=0 if cuts is None else len(cuts) - 1, prior=prior,
                  n_events=priors.n_events(y), **options)
    return model if survival is None else start_at_cox(model, given, survival, prior, cuts)


def encoder(name, image_shape, **options) -> keras.Model:
    """Model from one image to its feature vector; options as `models.features`."""
    image = keras.Input(tuple(image_shape), name="one_image")
    return keras.Model(image, models.features(image, name, **options), name="encoder")


def build(name, image_shape, n_images, sizes, *, survival=True, n_intervals=0, label=None, dropout=0.2, units="",
          fusion="equal", prior=None, n_events=0, **options) -> keras.Model:
    """Network with an output for the label and an output of risk per kind of input.

    Parameters
    ----------
    name : str
        Network of the images, see `models.features` (`options` go there); "" without images.
    image_shape : (h, w, c) or (d, h, w, c)
    n_images : int
        Images per unit, k.
    sizes : dict
        Columns of the other inputs: ``{"table": t, "radiomics": r}``.
    survival : bool
        Whether there are outputs of risk.
    n_intervals : int
        0: risks are log risks (b, 1) for a Cox loss; K: hazard logits (b, K).
    label : (kind, n_outputs), optional
        A class label of the images, see `models.head`, learned from the same features as their risk.
    units : str
        Hidden layers of the table, "64, 32"; empty: linear, a Cox model.
    fusion : str
        ``equal``: the sum of the standardised risks of the inputs, best for few patients, where a fitted combination
        follows whichever input was learned by heart; ``joint``: the image risk beside the columns of the tables, as in
        a Cox model, and a small network on all features together.
    prior, n_events : dict of `priors.priors`, events in training
        Ridge penalty on the coefficients of the tables, see `penalty_of`.

    Returns
    -------
    keras.Model
        Inputs (dict): image (b, k, ...), present (b, k), table (b, t), radiomics (b, r), as far as there are;
        outputs (dict): image, table, radiomics, fused, label. A higher risk is worse.
    """
    inputs, features, outputs, columns = {}, {}, {}, max(1, n_intervals)
    penalty = {part: priors.penalty_of((prior or {}).get(part), n_events) for part in sizes}
    if name:
        inputs |= {"image": keras.Input((n_images, *image_shape), name="image"),
                   "present": keras.Input((n_images,), name="present")}
        features["image"] = _pooled(inputs, encoder(name, image_shape, **options))
        shown = layers.Dropout(dropout)(features["image"]) if dropout else features["image"]
        if survival:
            outputs["image"] = _risk(shown, columns, "image_risk")
        if label:
            outputs["label"] = models.head(shown, *label)
    for part, size in sizes.items():
        inputs[part] = keras.Input((size,), name=part)
        features[part], outputs[part] = _from_table(inputs[part], part, units, columns, dropout, penalty[part])
    if len(features) > 1:
        outputs["fused"] = _fused(inputs, features, outputs, columns, fusion, dropout, penalty)
    return keras.Model(inputs, outputs, name="patients")


def _pooled(inputs, encode):
    image = inputs["image"]
    each = encode(ops.reshape(image, (-1, *image.shape[2:])))
    each = ops.reshape(each, (-1, image.shape[1], each.shape[-1]))
    return models.over_instances(each, inputs["present"], POOLING if image.shape[1] > 1 else "mean")


def start_at_cox(model, given, y, prior, cuts=None) -> keras.Model:
    """Give the linear parts of the tables the coefficients of a ridge Cox model of the same patients.

    A network takes hundreds of steps to what Newton's method has at once; from here it only learns what is new. The
    model of a table alone is finished with that and is frozen, unless a network stands beside it.

    Parameters
    ----------
    model : of `build`; given : dict of `inputs_of`, of the training patients
    y : (m, 2) time and event, (0, 0) unknown
    prior : dict of `priors`
    cuts : of a discrete-time head, whose outputs then start at the hazards of these patients
    """
    known, names = (y > 0).any(axis=1), {layer.name for layer in model.layers}
    for layer in model.layers:
        part, _, kind = layer.name.rpartition("_")
        if part in priors.TABLES and kind in ("linear", "fused"):
            coefficients = cox.coefficients(y[known, 0], y[known, 1] > 0, given[part][known], 1 / prior[part] ** 2)
            kernel = np.repeat(coefficients[:, None], layer.units, axis=1)
            layer.set_weights([kernel, *layer.get_weights()[1:]])
            alone = "encoder" not in names and not any(name.endswith("_network") for name in names)
            layer.trainable = kind == "fused" or f"{part}_network" in names or layer.units > 1 or alone
    return model if cuts is None else _set_level(model, priors.hazard_level(y, cuts), names)


def _set_level(model, level, names):
    """Each output once the level of the hazards: its further parts start at 0."""
    first = next((name for name in names if name.endswith("_fused")), None) if "image_scaled" not in names else None
    for layer in model.layers:
        values = layer.get_weights()
        if values and values[-1].shape == level.shape and isinstance(layer, (layers.Dense, Scaled)):
            whole = layer.name in ("image_risk", "fused_risk", first) or layer.name.endswith("_linear")
            layer.set_weights([*values[:-1], level if whole else 0 * level])
    return model


def standardise(model, images, rows, given) -> keras.Model:
    """Give the parts of an ``equal`` fusion mean and variance of their risks over these (training) patients: the
    moving ones of training are those of its last batches."""
    summed = {layer.name.removesuffix("_standard"): layer for layer in model.layers if layer.name.endswith("_standard")}
    found = predict(model, images, rows, given) if summed else {}
    for part, layer in summed.items():
        risk = found[part][given["present"].any(axis=1)] if part == "image" else found[part]
        layer.set_weights([risk.mean(0), np.maximum(risk.var(0), 1e-6)])
    return model


def _risk(x, columns, name, penalty=0.0):
    """Log risk without a constant, which a Cox loss cannot know, or logits of the hazard."""
    start = keras.initializers.RandomNormal(stddev=0.01)
    return layers.Dense(columns, use_bias=columns > 1, kernel_initializer=start, name=name,
                        kernel_regularizer=keras.regularizers.L2(penalty) if penalty else None,
                        bias_initializer=keras.initializers.Constant(-2.0))(x)


def _from_table(x, part, units, columns, dropout, penalty):
    """Features and risk of a table: a linear part, and beside it a network if `units` names layers."""
    linear, hidden = _risk(x, columns, f"{part}_linear", penalty), x
    for number in [int(word) for word in str(units).split(",") if word.strip()]:
        hidden = layers.Dense(number, "silu", kernel_initializer="he_normal")(hidden)
        hidden = layers.Dropout(dropout)(hidden) if dropout else hidden
    if hidden is x:
        return x, layers.Identity(name=f"{part}_risk")(linear)
    return hidden, layers.Add(name=f"{part}_risk")([linear, _risk(hidden, columns, f"{part}_network")])


@keras.saving.register_keras_serializable("medlab")
class Scaled(layers.Layer):
    """Input times one learned number, and plus a learned level per column if asked for."""

    def __init__(self, start=1.0, level=False, **kwargs):
        super().__init__(**kwargs)
        self.start, self.with_level = start, level

    def build(self, shape) -> None:
        self.scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(self.start), name="scale")
        self.level = self.add_weight(shape=(shape[-1],), initializer="zeros", name="level") if self.with_level else 0.0

    def call(self, x) -> keras.KerasTensor:
        return self.scale * x + self.level

    def get_config(self) -> dict:
        return super().get_config() | {"start": self.start, "level": self.with_level}


def _fused(inputs, features, outputs, columns, fusion, dropout, penalty):
    if fusion not in FUSIONS:
        raise ValueError(f"fusion {fusion!r} is unknown; expected one of {', '.join(FUSIONS)}")
    there = {part: 1.0 for part in features}
    if "image" in features:
        there["image"] = ops.max(inputs["present"], axis=-1, keepdims=True)
    if fusion == "equal":
        each = [layers.BatchNormalization(momentum=0.9, center=False, scale=False, name=f"{part}_standard")(
            ops.stop_gradient(outputs[part])) * there[part] for part in features]
        return Scaled(0.3, columns > 1, name="fused_risk")(layers.Add()(each))
    if "image" in features:
        there["image"] = ops.minimum(layers.Dropout(MISSING)(there["image"]), 1.0)
    risks = [Scaled(name="image_scaled")(outputs["image"] * there["image"]) if part == "image" else
             _risk(inputs[part], columns, f"{part}_fused", penalty[part]) for part in features]
    total, x = layers.Add()(risks), layers.Concatenate()([features[part] * there[part] for part in features])
    x = layers.Dropout(dropout)(x) if dropout else x
    x = layers.Dense(32, "gelu")(x)
    return layers.Add(name="fused_risk")([total, _risk(x, columns, "together")])


def label_model(model) -> keras.Model:
    """The part of a network that gives the label of one image, as a model of its own: an image in, scores out."""
    encode, known = model.get_layer("encoder"), {layer.name: layer for layer in model.layers}
    image = keras.Input(encode.input_shape[1:], name="image")
    x = encode(image)
    for name in ("score", "probabilities"):
        x = known[name](x) if name in known else x
    return keras.Model(image, x, name="label")


def predict(model, images, rows, given, batch_size=64) -> dict:
    """Outputs for patients, read from disk batch by batch.

    Parameters
    ----------
    model : keras.Model of `build`
    images : array of images.npy, or None
    rows : (m, k) rows of the images; given : dict of `inputs_of`, each (m, ...)

    Returns
    -------
    dict output -> (m, 1) log risk or (m, K) hazard logits, float
    """
    if not len(rows):
        return {name: np.empty((0, *shape[1:])) for name, shape in model.output_shape.items()}
    with_images = "image" in model.input
    batches = pipeline.dataset(images if with_images else None, rows=rows if with_images else None,
                               inputs={name: part for name, part in given.items() if name in model.input},
                               batch_size=batch_size)
    return {name: np.asarray(part, float) for name, part in model.predict(batches, verbose=0).items()}


def log_risk(output) -> np.ndarray:
    """One number per patient from an output, (n,), higher is worse: the log risk itself; of hazard logits (n, K) the
    complementary log-log of the mean survival at the cuts, by which `losses.Concordance` ranks them too."""
    output = np.asarray(output, float)
    if output.shape[1] == 1:
        return output[:, 0]
    mean = np.exp(-np.cumsum(np.logaddexp(0, output), axis=1)).mean(1)
    return np.log(-np.log(np.clip(mean, 1e-12, 1 - 1e-12)))


def memory_bytes(model, batch_size) -> int:
    """`models.memory_bytes` of a network of `build`, whose encoder works on every image of a unit."""
    if "image" not in model.input:
        return int(16 * model.count_params() + 4e6)
    return models.memory_bytes(model.get_layer("encoder"), batch_size * model.input["image"].shape[1])
