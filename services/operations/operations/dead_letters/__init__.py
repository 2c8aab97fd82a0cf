"""Dead letters: messages that their consumer could not process, and what to do about them."""

from operations.dead_letters.model import DeadLetter, DeadLetterGroup, Selection
from operations.dead_letters.settle import DeadLetters

__all__ = ["DeadLetter", "DeadLetterGroup", "DeadLetters", "Selection"]
