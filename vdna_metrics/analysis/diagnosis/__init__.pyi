from .rules import diagnose as diagnose
from .values import (
    DiagnosedSet as DiagnosedSet,
    Diagnosis as Diagnosis,
    Fault as Fault,
    FaultName as FaultName,
    Sign as Sign,
    Thresholds as Thresholds,
)
