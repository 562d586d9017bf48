"""DPO's and KTO's trainers with a weight of each row (``feedback.balance``), which TRL's lack.

TRL takes the mean of the rows' losses in the midst of its own function, and a row's loss is made of
the log-probabilities of its answers alone. So the weight is put on their gradient: the steps are
those of the weighted loss. What is logged, and what validation compares, is not weighted.
"""

from __future__ import annotations

from typing import Any


def weighted(trainer_class: Any) -> Any:
    """A subclass of ``DPOTrainer`` or ``KTOTrainer`` whose rows have a column ``weight``."""
    import torch

    class Weighted(trainer_class):
        data_collator: Any
        _signature_columns: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)  # scores the reference, for which no row has a weight
            collate = self.data_collator

            def collate_weights(rows: list[dict[str, Any]]) -> dict[str, Any]:
                weights = torch.tensor([float(row["weight"]) for row in rows])
                return {**collate(rows), "weight": weights}

            self.data_collator = collate_weights

        def _set_signature_columns_if_needed(self) -> None:
            """Keep the column: others that TRL doesn't know are removed."""
            super()._set_signature_columns_if_needed()
            if "weight" not in self._signature_columns:
                self._signature_columns = [*self._signature_columns, "weight"]

        def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **more: Any) -> Any:
            rest = {name: value for name, value in inputs.items() if name != "weight"}
            weights = inputs["weight"][:, None]

            def scaled(**arguments: Any) -> Any:
                outputs = model(**arguments)
                values = outputs.log_probs.detach()
                n_answers = len(values) // len(weights)  # of a row; DPO's: all chosen, all rejected
                gradient = weights.to(values.dtype).repeat(n_answers, 1)
                outputs.log_probs = values + gradient * (outputs.log_probs - values)
                return outputs

            return super().compute_loss(scaled, rest, *args, **more)

    return Weighted
