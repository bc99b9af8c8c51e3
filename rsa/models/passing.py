"""Pictures through a network: read in the background, passed in batches, the answers of layers handed over."""

import ctypes
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from rsa.errors import UserError
from rsa.models.source import Network, Precision

if TYPE_CHECKING:
    import torch

__all__ = [
    "Asked",
    "PassSettings",
    "Take",
    "ahead",
    "background",
    "exactly",
    "fewer",
    "is_out_of_memory",
    "keeping_memory",
    "pass_batches",
    "require_same_answers",
]

N_BATCHES_AHEAD = 2
"""Batches of pictures that are read ahead of the network."""

BATCH_SIZES = {"cpu": 8}
"""Pictures at a time, by kind of device: on a CPU larger batches are slower, as their memory is mapped anew."""

BATCH_SIZE = 64
"""Pictures at a time on other devices."""

MALLOPT = {-1: 2**30, -2: 2**26, -3: 2**25}
"""Parameters of glibc's allocator: from how much free memory on some is given back, how much more is asked for at a
time, and from which size on memory is mapped by itself (32 MiB, its limit)."""

SAME: dict[Precision, float] = {"single": 2.0**-10, "float16": 2.0**-5, "bfloat16": 2.0**-2}
"""Outputs are the same in another batch up to this share of the largest: far more than rounding."""

N_COMPARED = 4096
"""Of a large output, about so many numbers tell whether it is the same: what is random reaches all of them."""

log = logging.getLogger(__name__)

T = TypeVar("T")

Take = Callable[[int, str, "torch.Tensor"], None]
"""Takes, of the pictures from a place on, the responses of a layer, (n_pictures, n_units), which it copies at once."""


@dataclass(frozen=True)
class PassSettings:
    """How pictures pass through a network.

    Parameters
    ----------
    device : str
        Where: "cpu", "cuda", "cuda:1", "mps".
    batch_size : int, optional
        Pictures at a time; by default 8 on the CPU and 64 elsewhere. Where a device has not enough memory, fewer.
    precision : {"single", "bfloat16", "float16"}
        Numbers in which the network computes; answers are handed over in single precision.
    """

    device: str = "cpu"
    batch_size: int | None = None
    precision: Precision = "single"

    @property
    def kind(self) -> str:
        """The kind of the device, without its number."""
        return self.device.partition(":")[0]

    @property
    def size(self) -> int:
        """Pictures at a time."""
        return self.batch_size or BATCH_SIZES.get(self.kind, BATCH_SIZE)


# ------------------------------------------------------------------------------------------ the batches


@dataclass(frozen=True)
class Asked:
    """Some layers of a network that are asked, and who takes their answers.

    Parameters
    ----------
    network : Network
        On the device.
    layers : sequence of str
        The layers.
    keep : callable
        ``layer, output -> responses``: what counts of an output, on the CPU.
    take : callable
        ``place, layer, responses -> None``; see `Take`.
    settings : PassSettings
        The device and the precision.
    """

    network: Network
    layers: Sequence[str]
    keep: "Callable[[str, torch.Tensor], torch.Tensor]"
    take: Take
    settings: PassSettings


def pass_batches(asked: Asked, batches: "Iterable[tuple[int, torch.Tensor]]") -> Iterator[tuple[int, float]]:
    """Pass batches of pictures through a network, and hand over what its layers answer.

    A batch that does not fit into the memory of a device is passed in smaller parts, and so are those after it.

    Parameters
    ----------
    asked : Asked
        The network, and what is done with its answers.
    batches : iterable of (int, tensor)
        The place of the first picture of each batch, and the batch, shape (n_pictures, 3, height, width).

    Yields
    ------
    int, float
        After each batch, how many pictures it had, and how many seconds they took.

    Raises
    ------
    UserError
        If not even one picture fits into the memory of the device.
    """
    size = asked.settings.size
    for place, batch in batches:
        began = monotonic()
        size = _pass(asked, batch, place, size)
        yield len(batch), monotonic() - began


def _pass(asked: Asked, batch: "torch.Tensor", place: int, size: int) -> int:
    """Pass a batch in parts of at most `size` pictures, or of fewer if they do not fit; return how many fitted."""
    start = 0
    while start < len(batch):
        part = batch[start : start + size]
        try:
            _answer(asked, part, place + start)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = fewer(min(size, len(part)), asked.settings.device, error)
            continue
        start += len(part)
    return size


def require_same_answers(asked: Asked, pictures: "Sequence[torch.Tensor]", label: str, file: str) -> None:
    """Raise a `UserError` if what layers answer to a picture changes with each pass, or with the pictures beside it.

    The first picture passes beside itself, and then beside the last one: a dropout that is left on gives other numbers,
    and so does a normalisation by the pictures of a batch.

    Parameters
    ----------
    asked : Asked
        The network and its layers; who takes their answers is not asked.
    pictures : sequence of tensor, shape (n_colours, height, width)
        What goes into the network; the first and the last pass.
    label : str
        What the network is called.
    file : str
        The file of the first picture.
    """
    import torch

    before: dict[str, torch.Tensor] = {}
    changed: list[str] = []

    def take(place: int, layer: str, responses: "torch.Tensor") -> None:
        if place:  # the other picture, which passes by itself where memory is short
            return
        values = responses[0].flatten()
        some = values[:: max(1, len(values) // N_COMPARED)].clone()
        known = before.setdefault(layer, some)
        if len(known) and float((some - known).abs().max()) > SAME[asked.settings.precision] * float(known.abs().max()):
            changed.append(layer)

    for other in (pictures[0], pictures[-1]):
        for _ in pass_batches(replace(asked, take=take), [(0, torch.stack([pictures[0], other]))]):
            pass
    if changed:
        raise UserError(
            f"The output of layer {changed[0]!r} of {label} for {file} is another one in the next pass, or beside "
            "another picture: take out what is random or learns from a batch (dropout, batch norm without running "
            "statistics)."
        )


def fewer(size: int, device: str, error: RuntimeError) -> int:
    """Halve the number of pictures at a time, or say that it cannot be halved."""
    import torch

    if size <= 1:
        raise UserError(
            f"Not even one picture fits into the memory of {device} ({str(error).strip().splitlines()[0]}); choose the "
            "device cpu, or free this one."
        ) from error
    if device.startswith("cuda"):
        torch.cuda.empty_cache()  # so that a smaller batch finds its memory in one piece
    log.warning("%s has too little memory for %d pictures at a time: from here on %d", device, size, size // 2)
    return size // 2


def _answer(asked: Asked, batch: "torch.Tensor", place: int) -> None:
    """Ask a network; of a device that may run out of memory, answers are taken once all are there."""
    kept: dict[str, torch.Tensor] = {}

    def take(layer: str, output: "torch.Tensor") -> None:
        asked.take(place, layer, asked.keep(layer, output.float()))

    def hold(layer: str, output: "torch.Tensor") -> None:
        kept[layer] = asked.keep(layer, output.float())

    settings = asked.settings
    with _in_precision(settings.precision, settings.kind):
        if settings.kind == "cpu":
            asked.network.answer(batch, asked.layers, take)
        else:
            asked.network.answer(batch.to(settings.device), asked.layers, hold)
    for layer, responses in kept.items():
        asked.take(place, layer, responses)


def _in_precision(precision: Precision, kind: str) -> Any:
    import torch

    if precision == "single":
        return nullcontext()
    return torch.autocast(kind, getattr(torch, precision))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Say whether a device has no memory left: CUDA says it by a type of its own, others by their words."""
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error)


# ------------------------------------------------------------------------------------ how torch computes


@contextmanager
def exactly() -> Iterator[None]:
    """Compute in full single precision, with deterministic algorithms and without gradients; then as before."""
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    was = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    mode = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic
    filled = deterministic.fill_uninitialized_memory
    try:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = False, False, False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic.fill_uninitialized_memory = False  # it is written before it is read
        with torch.inference_mode():
            yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = was[:3]
        if was[3] is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])
        deterministic.fill_uninitialized_memory = filled


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Let the process keep memory that it frees, for the length of a block, where it runs on glibc.

    The outputs of layers come and go with every batch. By default much of their memory is given back to the system each
    time, and asked for again page by page, which takes longer than many a layer.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        yield
        return
    for parameter, n_bytes in MALLOPT.items():
        mallopt(parameter, n_bytes)
    try:
        yield
    finally:
        trim(0)


# ------------------------------------------------------------------------------------- in the background


@contextmanager
def background() -> Iterator[ThreadPoolExecutor]:
    """Start a thread for work beside the network; when the block ends, it finishes its task and begins no other.

    Torch runs this thread's operations on one core: further ones would only be taken from the network.
    """
    import torch

    with ThreadPoolExecutor(1) as thread:
        n_cores = torch.get_num_threads()
        thread.submit(torch.set_num_threads, 1).result()
        torch.set_num_threads(n_cores)  # for threads to come, which take the number that was set last
        try:
            yield thread
        finally:
            thread.shutdown(cancel_futures=True)


def ahead(thread: ThreadPoolExecutor, tasks: Iterable[Callable[[], T]], n_ahead: int) -> Iterator[T]:
    """Do tasks in a background thread and yield their results in order, at most `n_ahead` before they are asked for."""
    begun: deque[Future[T]] = deque()
    for task in tasks:
        begun.append(thread.submit(task))
        if len(begun) > n_ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()
