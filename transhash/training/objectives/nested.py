"""One objective for codes of several lengths, each a prefix of the next."""

from collections.abc import Sequence

from torch import Tensor, nn

from .base import Objective, widen
from .copies import Copies
from .targets import OrthoHash, Targeted, folded, nested_targets


class Nested(Objective):
    """The mean of an objective over the prefixes of the outputs, as in Kusupati et al., *Matryoshka Representation
    Learning*, NeurIPS 2022.

    A bit means the same in all prefixes: if classes have targets, those of a prefix are prefixes of the longest
    targets, and if outputs are normalised, all prefixes share that layer.
    """

    def __init__(self, lengths: Sequence[int], parts: Sequence[Objective]) -> None:
        """Take lengths in bits, ascending, and the objective of each."""
        super().__init__()
        self.lengths = lengths
        self.parts = nn.ModuleList(parts)
        self.norm: nn.Module = nn.Identity()
        longest = parts[-1]
        if isinstance(longest, OrthoHash | Copies):
            self.norm = longest.norm
        targets = nested_targets(lengths, len(longest.targets)) if isinstance(longest, Targeted) else None
        for bits, part in zip(lengths, parts, strict=True):
            if isinstance(part, Targeted) and isinstance(longest, Targeted) and targets is not None:
                part.targets, part.undecided = targets[:, :bits].clone(), longest.undecided[:bits].clone()
            if isinstance(part, OrthoHash | Copies):
                part.norm = nn.Identity()

    def forward(self, outputs: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """Return the scalar cost of a batch."""
        outputs = self.norm(widen(outputs))
        cost = outputs.new_zeros(())
        for bits, part in zip(self.lengths, self.parts, strict=True):
            cost = cost + part(outputs[:, :bits], labels, step)
        return cost / len(self.lengths)

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Return the scale and shift of the layer that all lengths share, if there is one."""
        return folded(self.norm) if isinstance(self.norm, nn.BatchNorm1d) else None
