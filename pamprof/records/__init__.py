"""The nouns: frozen dataclasses, their versioned JSON and the append-only store."""

from pamprof.records.capacity import AssociativeMemory, Capacity, CapacityPoint, RetrievalScore
from pamprof.records.environment import Environment, ProcessorUse, occupied_vcpus
from pamprof.records.interval import Interval
from pamprof.records.layers import ImplementationFacts, ImplementationKind, LayerFacts, LayerRole
from pamprof.records.memory import Memory
from pamprof.records.monitor import Energy, Monitor, Series
from pamprof.records.price import BoardShare, MachineChoice, Price, PriceQuote
from pamprof.records.run import (
    Ceilings,
    ExecutionStage,
    FlopCount,
    Gate,
    GraphBreaks,
    KernelShare,
    OperatorCount,
    RefusedClaim,
    Run,
    Skip,
    SkipKind,
    StepTrace,
    StopReason,
    Timing,
    Unknown,
)
from pamprof.records.session import (
    ArmFacts,
    Effort,
    MatchResidual,
    Perplexity,
    Session,
    SessionKind,
    UnplannedLayer,
)
from pamprof.records.training import TrainingProfile
from pamprof.records.workload import PRECISION_POLICY, Dtype, Execution, LayerSpec, Phase, Point, Scope, Workload

__all__ = [
    "PRECISION_POLICY",
    "ArmFacts",
    "AssociativeMemory",
    "BoardShare",
    "Capacity",
    "CapacityPoint",
    "Ceilings",
    "Dtype",
    "Effort",
    "Energy",
    "Environment",
    "Execution",
    "ExecutionStage",
    "FlopCount",
    "Gate",
    "GraphBreaks",
    "ImplementationFacts",
    "ImplementationKind",
    "Interval",
    "KernelShare",
    "LayerFacts",
    "LayerRole",
    "LayerSpec",
    "MachineChoice",
    "MatchResidual",
    "Memory",
    "Monitor",
    "OperatorCount",
    "Perplexity",
    "Phase",
    "Point",
    "Price",
    "PriceQuote",
    "ProcessorUse",
    "RefusedClaim",
    "RetrievalScore",
    "Run",
    "Scope",
    "Series",
    "Session",
    "SessionKind",
    "Skip",
    "SkipKind",
    "StepTrace",
    "StopReason",
    "Timing",
    "TrainingProfile",
    "Unknown",
    "UnplannedLayer",
    "Workload",
    "occupied_vcpus",
]
