"""What operators do with events, through the operations service or directly on its servers."""

from jettythunder_operators.operations.choice import operating
from jettythunder_operators.operations.interface import Operations, Place

__all__ = ["Operations", "Place", "operating"]
