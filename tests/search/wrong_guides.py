"""List searches with wrong guides; `wrong_searches` makes them."""

from __future__ import annotations

from . import contract_guides as contract
from .wrong_searches import Wrong

WRONG_GUIDES = [
    Wrong(
        "guides without their weights",
        contract.greedy_follows_the_combined_score,
        "guides",
        "scores + guide.weight * added",
        "scores + added",
    ),
    Wrong(
        "only the last guide",
        contract.beams_are_ranked_by_the_combined_score,
        "guides",
        "scores + guide.weight * added",
        "log_probs + guide.weight * added",
    ),
    Wrong(
        "the model keeps its whole weight",
        contract.an_interpolating_guide_takes_its_weight_from_the_model,
        "guides",
        "for guide in guides if guide.interpolates)",
        "for guide in ())",
    ),
    Wrong(
        "all guides take their weights from the model",
        contract.an_interpolating_guide_takes_its_weight_from_the_model,
        "guides",
        "sum(guide.weight for guide in guides if guide.interpolates)",
        "min(1, sum(guide.weight for guide in guides))",
    ),
    Wrong(
        "the model's weight is not applied",
        contract.an_interpolating_guide_takes_its_weight_from_the_model,
        "guides",
        "scores = self.weight * log_probs",
        "scores = log_probs",
    ),
    Wrong(
        "a model with weight 0 counts",
        contract.an_interpolating_guide_takes_its_weight_from_the_model,
        "guides",
        "if self.weight == 1 else",
        "if self.weight in (0, 1) else",
    ),
    Wrong(
        "the score is reported as log p",
        contract.greedy_follows_the_combined_score,
        "guides",
        "Scored(log_probs, scores,",
        "Scored(scores, scores,",
    ),
    Wrong(
        "the model chooses alone",
        contract.beams_are_ranked_by_the_combined_score,
        "guides",
        "Scored(log_probs, scores,",
        "Scored(log_probs, log_probs,",
    ),
    Wrong(
        "guides are not reordered",
        contract.beams_are_ranked_by_the_combined_score,
        "guides",
        "stepper.reorder(part, rows) for",
        "stepper.reorder(part, rows if part is state[0] else rows.sort().values) for",
    ),
    Wrong(
        "a guide keeps its first state",
        contract.greedy_follows_the_combined_score,
        "guides",
        "states.append(after)",
        "states.append(part)",
    ),
    Wrong(
        "samples are drawn from the model alone",
        contract.cold_guided_samples_are_greedy,
        "sampling",
        "guided = GuidedStepper(stepper, guides)",
        "guided = GuidedStepper(stepper)",
    ),
]
