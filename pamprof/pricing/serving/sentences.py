"""Sentences of a decision, as templates for ``str.format`` that the cost page's script fills, too."""

from __future__ import annotations

NO_COMMON_LENGTH = "{subject} against {rival}: no context length was measured for both"
CHEAPER_ABOVE_PROMPT = "{subject} is cheaper than {rival} above about {length} tokens of prompt{interval} ({basis})"
CHEAPER_AT_EVERY_PROMPT = (
    "{subject} is cheaper than {rival} at every prompt between {first} and {last} tokens ({basis})"
)
MORE_EXPENSIVE_AT_EVERY_PROMPT = (
    "{subject} is more expensive than {rival} at every prompt between {first} and {last} tokens ({basis})"
)
NO_CROSSOVER_RESOLVED = (
    "{subject} and {rival} cannot be told apart at some prompt between {first} and {last} tokens, so no crossover is "
    "resolved ({basis})"
)

TOKEN_COST = (
    "at {input} input and {output} output tokens a token of {subject} costs {ratio}{interval} that of {rival}: "
    "{verdict} ({basis})"
)
VERDICT_EQUAL = "no difference"
VERDICT_UNKNOWN = "unknown, a single sample has no interval"

BILLS_EQUAL = (
    "at {demand} tokens a day {subject} and {rival} need {replicas} each, so their bills are equal, {amount} a month "
    "({basis})"
)
BILL_LOWER = "at {demand} tokens a day {subject} saves {replicas} = {amount} a month against {rival} ({basis})"
BILL_HIGHER = (
    "at {demand} tokens a day {subject} needs another {replicas} = {amount} a month more than {rival} ({basis})"
)
ONE_REPLICA = "{count} replica"
REPLICAS = "{count} replicas"

ARM_REFUSED = "{arm} is {sentence}"
ARM_SERVES = "{arm} serves this demand within the limits"
