"""The section `units` of the configuration: which units are looked at, and what is asked of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from rsa.errors import listed
from rsa.models.source import Globs, LayersOrNone
from rsa.papers import joined
from rsa.settings import DataPath, Label, Names, Section

__all__ = [
    "Channels",
    "Chosen",
    "Codes",
    "Fields",
    "HeatMap",
    "Maximised",
    "OfNetworks",
    "Preferred",
    "UnitSettings",
]

Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


def _as_tuple(one: object) -> object:
    return (one,) if isinstance(one, str | int) else one


class OfNetworks(Section):
    """What is asked of some networks, or of all."""

    models: Names = ()
    """Labels of the networks that are meant, or of models for all of their seeds or checkpoints; by default all that
    have such a layer."""

    def is_of(self, label: str) -> bool:
        """Say whether a network is meant: where none is named, all are."""
        return not self.models or label in self.models

    def problem_of_models(self, labels: Sequence[str]) -> str:
        """Return what is wrong with the networks that are named, among those of these labels; else nothing."""
        unknown = [name for name in self.models if name not in labels]
        return f"there is no network {listed(unknown)}; there are {listed(labels)}." if unknown else ""


class Chosen(OfNetworks):
    """Some units of some layers: by their numbers, those most like a region, or those that vary most."""

    layers: Annotated[Globs, BeforeValidator(_as_tuple, json_schema_input_type=str | Globs)]
    """Layers by name or by glob (`features.*`), one or a list; they need not be among the `layers` of the model."""
    units: Annotated[Numbers, BeforeValidator(_as_tuple, json_schema_input_type=int | Numbers)] | None = None
    """Numbers of the units, from 0: a unit of a layer with space or tokens is a channel of it. By default they are
    chosen."""
    like: str | None = None
    """A region: take the units whose own RDMs are most like that of the region."""
    n: int = Field(4, ge=1)
    """How many units of each layer are chosen, where `units` does not name them: those most `like` a region, or else
    those whose highest responses differ most from picture to picture (by their standard deviation)."""

    @model_validator(mode="after")
    def _is_one_way(self) -> "Chosen":
        if self.units is not None and self.like is not None:
            raise ValueError("`units` names units and `like` chooses them; set one of the two")
        return self


class Preferred(Section):
    """The pictures to which a unit responds most."""

    n_pictures: int = Field(9, ge=2)
    """How many pictures of each unit are shown."""


class Fields(Section):
    """Empirical receptive fields by small occluders (Zhou et al., 2015)."""

    n_pictures: int = Field(10, ge=1)
    """How many pictures are occluded for each unit: those to which it responds most."""
    patch_px: int | None = Field(None, ge=1)
    """Side of the occluder in pixels of the network's input; by default a twentieth of the picture, or a fifth of the
    theoretical field of a layer where that is smaller."""
    stride_px: int | None = Field(None, ge=1)
    """From one place of the occluder to the next, at most its side; by default half of it. At 1 the extent of a field
    is exact."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the random pixels of the occluders."""


class Maximised(OfNetworks):
    """Pictures that are made for a unit, by gradient ascent on its response (Erhan et al., 2009)."""

    models: Names = ()
    """Labels of the networks that are meant, or of models for all of their seeds or checkpoints; by default all that
    have gradients: those that torch computes from their modules."""
    objective: Literal["unit", "channel"] = "unit"
    """What rises in a layer with space: the response of the unit in the middle of the map, which gives a picture of
    what its field looks for, or the mean of the channel over all places, which gives a texture."""
    n_steps: int = Field(200, ge=1)
    """Steps of the ascent."""
    step: float = Field(0.05, gt=0, allow_inf_nan=False)
    """Length of a step: the root mean square change of the pixels that matter, as a share of the range from black to
    white."""
    jitter_px: int = Field(8, ge=0)
    """By how many pixels at most the picture is moved at random before each step; never by more than an eighth of the
    theoretical field."""
    blur_px: float = Field(0.5, ge=0)
    """Standard deviation of the Gaussian that blurs the picture after each step."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the first picture and of the movements."""


class HeatMap(OfNetworks):
    """Where in a picture a class, or another unit, is seen: how its response falls when a place is covered."""

    name: Label = "class"
    """What the map is called in files."""
    layer: str | None = None
    """Layer of the unit; by default the last of the network, whose units are its classes."""
    unit: int | None = Field(None, ge=0)
    """Number of the unit, from 0; by default, for each picture, that with the highest response to it."""
    unit_column: str | None = None
    """Column of the stimulus table with the number of the unit of each picture, instead of `unit`; of several numbers
    with commas between them, the unit with the highest response is taken."""
    measure: Literal["probability", "response"] = "probability"
    """Whether the response falls, or the probability (softmax over the units of the layer)."""
    pictures: Names = ()
    """Conditions whose pictures are covered; by default all."""
    patch_px: int | None = Field(None, ge=1)
    """Side of the grey square in pixels of the network's input; by default a seventh of the picture."""
    stride_px: int | None = Field(None, ge=1)
    """From one place of the square to the next, at most its side; by default a quarter of it."""


class Codes(Section):
    """What a layer says of the pictures: neighbours, maps in two dimensions, and read-out of categories."""

    n_neighbours: int = Field(5, ge=1)
    """How many nearest neighbours of each condition are listed."""
    categories: str = "category"
    """Column of the stimulus table with the category of each condition; without such a column nothing is read out."""
    n_folds: int = Field(5, ge=2)
    """Folds of the cross-validation of the read-out; fewer, where a category has fewer conditions."""
    permutations: int = Field(1000, ge=0)
    """How many orders of the categories test whether they can be read out."""
    perplexity: float = Field(30.0, gt=0)
    """Of t-SNE; a third of the number of conditions, where that is smaller."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of folds, orders, and the beginning of MDS and t-SNE."""


class Channels(Section):
    """Which channels of a layer carry its fit to a region."""

    n_splits: int = Field(20, ge=1)
    """How often conditions are split in halves, of which one chooses the best channels and the other scores them."""
    n_best: int = Field(8, ge=1)
    """How many of the best channels of a layer are scored together."""
    permutations: int = Field(1000, ge=0)
    """How many orders of the conditions test whether a channel is like a region, and the first 250 of them whether the
    best together are; none for 0."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the splits and orders."""


Entry = TypeVar("Entry", bound=OfNetworks)


class UnitSettings(Section):
    """What the units of networks see, and what drives them. `units: {}` asks for it with all defaults."""

    chosen: tuple[Chosen, ...] = ()
    """Which units are looked at; by default four of each of five layers of each network, from the first to the last."""
    models: Names = ()
    """Labels of the networks whose units are looked at, or of models for all of their seeds or checkpoints; by default
    all. Networks that `network_comparisons` follow have their responses and `codes` alone, unless they are named."""
    layers: LayersOrNone = "default"
    """Layers whose `codes` and `channels` are looked at, `[]` for none; by default those of the model, whose RDMs the
    study has."""
    names: DataPath | None = None
    """Text file with a line for each class of the networks: what it is called. Units of the last layer have these
    names, and those of layers whose output has the same values."""
    class_layers: Names = ()
    """Further layers whose units are the classes, by name or by glob: for SqueezeNet `["classifier.1"]`, a channel for
    each class."""
    preferred: Preferred | None = Preferred()
    """The pictures that drive each unit, with its activation maps over them; null for none."""
    fields: Fields | None = Fields()
    """Empirical receptive fields beside the theoretical ones; null for none."""
    filters: bool = True
    """The filters of the first layer, as pictures."""
    maximised: Maximised | None = None
    """Pictures that are made for each unit; leave it out for none."""
    heat_maps: tuple[HeatMap, ...] = ()
    """Where a class or another unit is seen in a picture."""
    codes: Codes | None = Codes()
    """Neighbours, maps in two dimensions, and read-out of categories; null for none."""
    channels: Channels | None = Channels()
    """In studies with regions: which channels carry the fit of a layer; null for none."""

    def files(self) -> list[Path]:
        """Return the files that the look at units reads, besides the network, the pictures and the results."""
        return [] if self.names is None else [Path(self.names)]

    def methods(self, *, has_regions: bool) -> list[str]:
        """Return sentences for the methods text: what was asked of the units, in a study with regions or without."""
        parts = {
            "The pictures to which a unit responded most": self.preferred,
            "its receptive field, measured by small random occluders (Zhou et al., 2015)": self.fields,
            "the picture that gradient ascent made for it (Erhan et al., 2009)": self.maximised,
        }
        asked = [words for words, part in parts.items() if part is not None]
        sentences = [f"{joined(asked)} were looked at."] if asked else []
        if self.heat_maps:
            sentences.append(
                "A grey square was moved over pictures, and the fall of the response to them was mapped (Zeiler & "
                "Fergus, 2014)."
            )
        if self.codes is not None:
            sentences.append(
                "Layer RDMs were shown in two dimensions by multidimensional scaling and t-SNE (van der Maaten & "
                "Hinton, 2008), and categories were read out of layers by linear classifiers, cross-validated over "
                "conditions, whose accuracy was tested by permutations of the categories."
            )
        if self.channels is not None and has_regions:
            sentences.append(
                "Which channels carry the fit of a layer to a region was seen by the RDM of each channel alone, and by "
                "that of the layer without it; the best channels were chosen on one half of the conditions and scored "
                f"on the other, over {self.channels.n_splits} splits."
                + " Scores were tested by permutations of the conditions."
                * (self.channels.permutations > 0)
            )
        return sentences

    def of_networks(self, named: Mapping[str, Sequence[str]]) -> "UnitSettings":
        """Return the same with the names of models in entries replaced by the labels of all their networks."""

        def labelled(one: Entry) -> Entry:
            labels = tuple(dict.fromkeys(label for name in one.models for label in named.get(name, (name,))))
            return one.model_copy(update={"models": labels})

        maximised = None if self.maximised is None else labelled(self.maximised)
        lists = {"chosen": tuple(map(labelled, self.chosen)), "heat_maps": tuple(map(labelled, self.heat_maps))}
        return self.model_copy(update={**lists, "maximised": maximised})

    def of_network(self, label: str) -> "UnitSettings":
        """Return what is asked of a network: without what is for others alone.

        Where all entries of `chosen` are for others they stay, as without any entry units would be chosen.
        """
        maximised = self.maximised if self.maximised is not None and self.maximised.is_of(label) else None
        chosen = tuple(one for one in self.chosen if one.is_of(label)) or self.chosen
        heat_maps = tuple(one for one in self.heat_maps if one.is_of(label))
        return self.model_copy(update={"chosen": chosen, "heat_maps": heat_maps, "maximised": maximised})

    def of_compared(self) -> "UnitSettings":
        """Return what is asked of a network that is only compared with others: its responses and codes."""
        nothing = {"preferred": None, "fields": None, "filters": False, "maximised": None, "heat_maps": ()}
        return self.model_copy(update={**nothing, "channels": None})
