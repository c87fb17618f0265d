"""What autograd holds during a training step: saved activations and gradients, at the moment of peak memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.autograd.graph import saved_tensors_hooks

from pamprof.measure.memory.storage_tracker import StorageSet, held_bytes, storages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import nn


class ActivationWatch:
    """Saved activations and gradients over one step, remembered as they were at its fullest moment.

    Attributes:
        saved: Storages autograd holds now, what is resident anyway excepted.
        has_saved: Whether autograd saved anything at all.
        saved_bytes_at_peak: Bytes of ``saved`` at the fullest moment.
        gradient_bytes_at_peak: Bytes of gradients at the fullest moment.
        current_bytes: How full it is now; set before the step.
        at_save: Called with every saved tensor that is followed; set before the step where wanted.

    Args:
        module: Whose parameters' gradients are followed.
        inputs: Leaves that may receive gradients too.
        resident: Storages that are alive throughout and belong to other parts.
        device_type: Only storages on this kind of device count.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Sequence[torch.Tensor],
        resident: Mapping[int, torch.UntypedStorage],
        *,
        device_type: str,
    ) -> None:
        self.saved = StorageSet()
        self.has_saved = False
        self.saved_bytes_at_peak = 0
        self.gradient_bytes_at_peak = 0
        self.current_bytes: Callable[[], int] = lambda: 0
        self.at_save: Callable[[torch.Tensor], None] | None = None
        self._leaves = [*module.parameters(), *inputs]
        self._resident = resident
        self._device_type = device_type
        self._fullest_bytes = -1

    def gradients(self) -> list[torch.Tensor]:
        """Gradients of parameters and inputs that exist now."""
        return [leaf.grad for leaf in self._leaves if leaf.is_leaf and leaf.grad is not None]

    def gradient_bytes(self) -> int:
        """Bytes of their storages."""
        gradients = self.gradients()
        return held_bytes(gradients, device_type=self._device_type) if gradients else 0

    @property
    def bytes_at_peak(self) -> int:
        """Saved activations and gradients at the fullest moment."""
        return self.saved_bytes_at_peak + self.gradient_bytes_at_peak

    def drop_gradients(self) -> None:
        """Forget the gradients of the last step."""
        for leaf in self._leaves:
            if leaf.is_leaf:
                leaf.grad = None

    def look(self) -> None:
        """Remember the parts if this is the fullest moment so far."""
        current = self.current_bytes()
        if current > self._fullest_bytes:
            self._fullest_bytes = current
            self.saved_bytes_at_peak = self.saved.live_bytes
            self.gradient_bytes_at_peak = self.gradient_bytes()

    @contextmanager
    def hooks(self, *, look: bool) -> Iterator[None]:
        """Follow what autograd saves; with ``look``, look at every tensor it saves and fetches."""

        def save(tensor: torch.Tensor) -> torch.Tensor:
            self.has_saved = True
            for storage in storages_of(tensor):
                if id(storage) not in self._resident and storage.device.type == self._device_type:
                    self.saved.add(storage)
                    if self.at_save is not None:
                        self.at_save(tensor)
            if look:
                self.look()
            # The tensor itself may be the output of the node that saves it, and would then keep itself alive.
            return tensor.detach()

        def fetch(tensor: torch.Tensor) -> torch.Tensor:
            if look:
                self.look()
            return tensor

        # Between two compiled parts of a step the compiler would otherwise trace the hooks as part of it.
        hooks = (torch.compiler.disable(save), torch.compiler.disable(fetch)) if look else (save, fetch)
        try:
            with saved_tensors_hooks(*hooks):
                yield
        finally:
            self.saved.close()
