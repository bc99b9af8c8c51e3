"""The searchlight on an accelerator: the four steps of `rsa.searchlight` for many centres at once, in torch.

All numbers are in double precision and every sphere is summed afresh, so scores differ from those of the CPU by
rounding only: below 1e-6, and rank correlations by nothing where no two dissimilarities are closer than rounding. More
if conditions share a pattern that is 10,000 times as large as what they differ by (see docs/conventions.md).
"""

from typing import Any

import numpy as np
import torch

from rsa.comparisons import TIE, Comparison
from rsa.core import CONSTANT_PATTERN, CONSTANT_RDM, DEFINED, Array
from rsa.distances import CENTRED, UNIT
from rsa.spheres import Spheres

__all__ = ["TorchComparison"]


class TorchComparison:
    """Comparison of chunks of centres with references on one device.

    Parameters
    ----------
    spheres : Spheres
        Responses and members; the distance says which function of this module computes it.
    references : array, shape (n_rdms, n_pairs)
        Prepared references.
    comparison : Comparison
        Says which functions of this module prepare and score RDMs.
    device : str
        Where torch computes.
    """

    def __init__(self, spheres: Spheres, references: Array, comparison: Comparison, device: str) -> None:
        self.device, self.min_voxels, self.origin = torch.device(device), spheres.min_voxels, spheres.origin
        assert comparison.on_gpu is not None, "the caller looks"
        named = (spheres.distance.on_gpu, *comparison.on_gpu)
        self.measure, self.prepare, self.score = (globals()[name] for name in named)
        self.responses, self.indptr, self.indices, self.references = (
            torch.from_numpy(values).to(self.device)
            for values in (spheres.responses, spheres.indptr, spheres.indices, np.ascontiguousarray(references))
        )
        self.n_products = torch.from_numpy(spheres.n_products).to(self.device)
        n_conditions = self.responses.shape[2]
        self.rows, self.columns = torch.triu_indices(n_conditions, n_conditions, offset=1, device=self.device)
        self.bytes_per_centre = 8 * (
            3
            * int(spheres.sizes.max())
            * self.responses[0].numel()  # responses as gathered, and their products' factors
            + 2 * n_conditions**2
            + 10 * len(self.rows)  # dissimilarities, their order and ranks, and what is needed on the way
            + 3 * len(references)
        )

    def chunk_size(self) -> int:
        """Return the number of centres that half of the free memory holds, at most 4,096."""
        if self.device.type != "cuda":
            return 256
        free, _ = torch.cuda.mem_get_info(self.device)
        return max(1, min(4096, free // 2 // self.bytes_per_centre))

    def __call__(self, centres: range) -> tuple[Array, Array]:
        """Return the scores, shape (n_rdms, n_centres), and reasons."""
        with torch.inference_mode():
            prepared = self.prepare(self.rdms(centres))
            scores = self.score(self.references, prepared)
            reason = torch.full((len(centres),), DEFINED, dtype=torch.int8, device=self.device)
            undefined, no_score = prepared.isnan().any(dim=1), scores.isnan().all(dim=0)
            reason[no_score] = torch.where(undefined[no_score], CONSTANT_PATTERN, CONSTANT_RDM).to(torch.int8)
            return scores.cpu().numpy(), reason.cpu().numpy()

    def rdms(self, centres: range) -> torch.Tensor:
        """Return the condensed RDMs, shape (n_centres, n_pairs), NaN where undefined."""
        start, stop = self.indptr[centres.start : centres.stop], self.indptr[centres.start + 1 : centres.stop + 1]
        sizes = stop - start
        place = torch.arange(int(sizes.max()), device=self.device)
        inside = place < sizes[:, None]  # (n_centres, n_largest)
        members = self.indices[torch.where(inside, start[:, None] + place, 0)].long()
        patterns = self.responses[members].double()  # (n_centres, n_largest, n_runs, n_conditions)
        if self.origin == "pattern":
            patterns -= patterns[:, :1].clone()
        elif self.origin == "feature":
            patterns -= patterns[..., :1].clone()
        patterns *= inside[:, :, None, None]
        gram = _products(patterns) / self.n_products
        squares, sums = gram.diagonal(dim1=1, dim2=2), patterns.sum(dim=(1, 2))
        off_by = _rounding_errors(patterns, sizes) / self.n_products.min()
        pairs = self.rows, self.columns
        rdms: torch.Tensor = self.measure(
            gram[:, self.rows, self.columns], squares, sums, sizes.double(), off_by, *pairs
        )
        rdms[sizes < self.min_voxels] = torch.nan
        return rdms


def _products(patterns: torch.Tensor) -> torch.Tensor:
    """Return the products of conditions, or with several runs those between runs; (n, n_conditions, n_conditions)."""
    n_runs = patterns.shape[2]
    each = patterns.flatten(1, 2)
    if n_runs == 1:
        return each.mT @ each
    together = patterns.sum(dim=2)
    return together.mT @ together - each.mT @ each


def _rounding_errors(patterns: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Bound the rounding errors of squares, (n, n_conditions), as `rsa.distances.rounding_between_runs` does."""
    n_runs = patterns.shape[2]
    n_rows = 1 if n_runs == 1 else n_runs + 1
    energies = (patterns * patterns).sum(dim=(1, 2))
    n_terms = n_rows * (sizes[:, None] + 2) + 4
    return torch.mul(UNIT * n_rows * n_terms, energies)


# ------------------------------------------------------------------------------------- dissimilarities


def _normalised(products: Any, squares: Any, mean: Any, off_by: Any, rows: Any, columns: Any) -> torch.Tensor:
    squares, off_by = squares - mean**2, CENTRED * off_by
    squares = torch.where(squares > off_by, squares, torch.nan)
    scale, share = squares.rsqrt(), off_by / squares
    ratio = (products - mean[:, rows] * mean[:, columns]) * (scale[:, rows] * scale[:, columns])
    return torch.where(ratio >= 1 - share[:, rows] - share[:, columns], 0, 1 - ratio.clamp(min=-1))


def correlation(products: Any, squares: Any, sums: Any, sizes: Any, *of: Any) -> torch.Tensor:
    return _normalised(products, squares, sums / sizes.clamp(min=1).sqrt()[:, None], *of)


def cosine(products: Any, squares: Any, sums: Any, sizes: Any, *of: Any) -> torch.Tensor:
    return _normalised(products, squares, torch.zeros_like(sums), *of)


def _differences(products: Any, squares: Any, off_by: Any, rows: Any, columns: Any) -> tuple[Any, Any]:
    """Return squared distances, and what rounding may have put them off by."""
    difference = squares[:, rows] + squares[:, columns] - 2 * products
    return difference, 2 * (off_by[:, rows] + off_by[:, columns])


def sqeuclidean(products: Any, squares: Any, sums: Any, sizes: Any, *of: Any) -> torch.Tensor:
    difference, error = _differences(products, squares, *of)
    return torch.where(difference <= error, 0, difference)


def euclidean(*of: Any) -> torch.Tensor:
    return torch.sqrt(sqeuclidean(*of))


def crossnobis(products: Any, squares: Any, sums: Any, sizes: Any, *of: Any) -> torch.Tensor:
    difference, error = _differences(products, squares, *of)
    return torch.div(torch.where(difference.abs() <= error, 0, difference), sizes[:, None])


# ----------------------------------------------------------------------------------------- comparisons


def _noise(rdms: torch.Tensor) -> torch.Tensor:
    return rdms.abs().amax(dim=1, keepdim=True) * TIE


def centred_ranks(rdms: torch.Tensor) -> torch.Tensor:
    """Rank each row about a mean of 0, ties by their average rank; a row with NaN becomes NaN."""
    n_pairs = rdms.shape[1]
    ascending, order = rdms.sort(dim=1)
    differs = ascending.diff(dim=1) > _noise(rdms)
    edge = torch.ones_like(differs[:, :1])
    places = torch.arange(1, n_pairs + 1, dtype=torch.float64, device=rdms.device)
    first = torch.where(torch.cat([edge, differs], 1), places, 0).cummax(dim=1).values
    last = torch.where(torch.cat([differs, edge], 1), places, n_pairs).flip(1).cummin(dim=1).values.flip(1)
    ranks = torch.empty_like(rdms).scatter_(1, order, (first + last) / 2 - (n_pairs + 1) / 2)
    ranks[ascending[:, -1].isnan()] = torch.nan
    return ranks


def centred(rdms: torch.Tensor) -> torch.Tensor:
    same = rdms.amax(dim=1, keepdim=True) - rdms.amin(dim=1, keepdim=True) <= _noise(rdms)
    shifted = torch.where(same, 0, rdms - rdms[:, :1])
    return shifted - shifted.mean(dim=1, keepdim=True)


def unchanged(rdms: torch.Tensor) -> torch.Tensor:
    return rdms


def normalised_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    lengths = torch.outer((a * a).sum(dim=1), (b * b).sum(dim=1)).sqrt()
    return (a @ b.T / lengths).clamp(-1, 1)


def rank_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    n_pairs = a.shape[1]
    varies = torch.outer((a * a).sum(dim=1), (b * b).sum(dim=1)) > 0
    return torch.where(varies, 12 * (a @ b.T) / (n_pairs**3 - n_pairs), torch.nan)
