"""Sentences of a decision, as templates for ``str.format`` that the cost page's script fills, too."""

from __future__ import annotations

NO_COMMON_LENGTH = "{subject} against {rival}: no context length was measured for both"
CHEAPER_ABOVE_PROMPT = "{subject} is cheaper than {rival} above about {length} tokens of prompt{interval} ({basis})"
CHEAPER_AT_EVERY_PROMPT = "{subject} is cheaper than {rival} at every prompt between {first} and {last} tokens"
MORE_EXPENSIVE_AT_EVERY_PROMPT = (
    "{subject} is more expensive than {rival} at every prompt between {first} and {last} tokens"
)
NO_CROSSOVER_RESOLVED = (
    "{subject} and {rival} cannot be told apart at some prompt between {first} and {last} tokens, so no crossover is "
    "resolved"
)

TOKEN_COST = "at {input} input and {output} output tokens a token costs {ratio}{interval} as much: {verdict} ({basis})"
VERDICT_EQUAL = "no difference"
VERDICT_UNKNOWN = "unknown, a single sample has no interval"

BILLS_EQUAL = "at {demand} tokens a day both need {replicas}, so the bills are equal, {amount} a month"
BILL_LOWER = "at {demand} tokens a day it saves {replicas} = {amount} a month"
BILL_HIGHER = "at {demand} tokens a day it needs another {replicas} = {amount} a month more"
ONE_REPLICA = "{count} replica"
REPLICAS = "{count} replicas"

ARM_REFUSED = "{arm} is {sentence}"
ARM_SERVES = "{arm} serves this demand within the limits"
