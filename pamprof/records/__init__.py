"""The nouns: frozen dataclasses, their versioned JSON and the append-only store."""

from pamprof.records.calibration import CALIBRATION_VERSION, Calibration, calibration_bytes, read_calibration
from pamprof.records.capacity import AssociativeMemory, Capacity, CapacityPoint, RetrievalScore
from pamprof.records.environment import Environment, ProcessorUse, occupied_vcpus
from pamprof.records.interval import Interval
from pamprof.records.kernels import KernelClass, KernelUse, StepKernels
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
from pamprof.records.serve_check import PredictedLoad, SampledSteps, ServeCheck, ServerPolicy
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
    "CALIBRATION_VERSION",
    "PRECISION_POLICY",
    "ArmFacts",
    "AssociativeMemory",
    "BoardShare",
    "Calibration",
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
    "KernelClass",
    "KernelShare",
    "KernelUse",
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
    "PredictedLoad",
    "Price",
    "PriceQuote",
    "ProcessorUse",
    "RefusedClaim",
    "RetrievalScore",
    "Run",
    "SampledSteps",
    "Scope",
    "Series",
    "ServeCheck",
    "ServerPolicy",
    "Session",
    "SessionKind",
    "Skip",
    "SkipKind",
    "StepKernels",
    "StepTrace",
    "StopReason",
    "Timing",
    "TrainingProfile",
    "Unknown",
    "UnplannedLayer",
    "Workload",
    "calibration_bytes",
    "occupied_vcpus",
    "read_calibration",
]
