"""What the app process and the model process say to each other over their pipe."""

from dataclasses import dataclass

from errors import PlaygroundError
from helpers.local_inference.generation_events import GenerationEvent, RenderedPrompt, TokenScores
from helpers.local_inference.requests import GenerationRequest, PromptRequest, ScoreRequest


@dataclass(frozen=True)
class Submit:
    """App to model process: put this request at the end of the queue."""

    request_id: int
    request: GenerationRequest


@dataclass(frozen=True)
class Stop:
    """App to model process: end this request, waiting or running."""

    request_id: int


@dataclass(frozen=True)
class Render:
    """App to model process: render this prompt, also while an answer is being written."""

    request_id: int
    request: PromptRequest


@dataclass(frozen=True)
class Score:
    """App to model process: put this scoring at the end of the queue."""

    request_id: int
    request: ScoreRequest


@dataclass(frozen=True)
class Happened:
    """Model process to app: the next event of a request."""

    request_id: int
    event: GenerationEvent


@dataclass(frozen=True)
class Rendered:
    """Model process to app: a rendered prompt, or why there is none."""

    request_id: int
    outcome: RenderedPrompt | PlaygroundError


@dataclass(frozen=True)
class Scored:
    """Model process to app: a scored answer, or why there is none."""

    request_id: int
    outcome: TokenScores | PlaygroundError


@dataclass(frozen=True)
class Logged:
    """Model process to app: a line for the app's log."""

    logger: str
    level: int
    message: str


ToChild = Submit | Stop | Render | Score
FromChild = Happened | Rendered | Scored | Logged
