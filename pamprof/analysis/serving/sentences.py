"""Sentences about a serving curve and its operating points, as templates for ``str.format``.

Each sentence is written once: Python fills it here, and the cost page's script fills the same template in the browser.
"""

from __future__ import annotations

UNKNOWN = "unknown: {reason}"
INFEASIBLE = "infeasible: {limit}, {detail}"
NO_STEP_KNOWN = "no step is known at {context} tokens"
PROMPT_TOO_SLOW = "{seconds} for a prompt of {prompt} tokens against {allowed} allowed"
NOTHING_FITS = "no sequence of {context} tokens fits beside the weights"
FIRST_TOKEN_TOO_LATE = "{seconds} behind a step of one sequence against {allowed} allowed"
SEQUENCE_TOO_SLOW = "{seconds} for one sequence against {allowed} allowed"

DECODE_PLACE = "decode at batch {batch} and {context} tokens of context"
PROMPT_PLACE = "a prompt of {prompt} tokens"
PLACE_OF_ARM = "{place} of {arm}"
TOO_LITTLE_FOR_A_MODEL = "{place} lies beyond what was measured of {arm}, too little for a model"
MODEL_ERROR_TOO_LARGE = (
    "{place} lies beyond what was measured, and the model is off by up to {error} at the measured places, more than "
    "{allowed}; measure there"
)
DOES_NOT_FIT = (
    "infeasible: memory, {batch} sequences of {context} tokens need {needed} of {capacity}; {most} fit ({basis})"
)

NO_SHARED_LENGTH = "unknown: the two arms share no length that both can serve within the limits"
DIRECTION_AND_RANGE = "{direction}, between {first} and {last} tokens"
