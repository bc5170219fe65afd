"""What becomes of a refused record: a dead letter, a failed task, or nothing but a count, as the settings say."""

import structlog

from schemas.errors import BrokerUnavailable, LiqcascadeError
from sinks.configs import ConnectorConfig
from sinks.connector import SinkRecord
from sinks.dead_letters import DeadLetters, Letter, Stage
from sinks.task_figures import Figures

log = structlog.get_logger()


class Refusals:
    """`add` each one, `flush` before the offsets move beyond them."""

    def __init__(self, config: ConnectorConfig, task: int, figures: Figures) -> None:
        """Connects to nothing."""
        self._config, self._figures = config, figures
        self._letters = (
            DeadLetters(config.settings.kafka, config.dead_letters, connector=config.name, task=task)
            if config.tolerates and config.dead_letters
            else None
        )
        self._waiting = 0

    def add(self, letter: Letter) -> None:
        """One refused record. Raises its error where errors.tolerance is none; BrokerUnavailable."""
        self._figures.refused(letter.stage)
        if self._config.log_errors or not self._config.tolerates:
            self._figures.logged()
            topic, partition = letter.position
            log.error("record refused", sink=self._config.name, topic=topic, partition=partition, offset=letter.offset,
                      error=str(letter.error))  # fmt: skip
        if not self._config.tolerates:
            self._figures.failed()
            raise LiqcascadeError(
                f"errors.tolerance is none, and {letter.position[0]}/{letter.position[1]} offset {letter.offset} "
                f"was refused: {letter.error}"
            ) from letter.error
        if self._letters is not None:
            self._letters.send(letter)
            self._waiting += 1

    def add_record(self, record: SinkRecord, error: LiqcascadeError, by: type) -> None:
        """One that the store refused. Raises as `add` does."""
        self.add(
            Letter(
                position=record.position,
                offset=record.offset,
                key=record.key,
                value=record.value,
                headers=record.headers,
                error=error,
                stage=Stage.TASK_PUT,
                class_name=class_name(by),
            )
        )

    def flush(self) -> None:
        """Wait until the broker has all dead letters. Raises BrokerUnavailable; they are added again then."""
        if self._letters is None or not self._waiting:
            return
        waiting, self._waiting = self._waiting, 0
        try:
            self._letters.flush()
        except BrokerUnavailable:
            self._figures.letters(waiting, taken=False)
            raise
        self._figures.letters(waiting, taken=True)


def class_name(kind: type) -> str:
    """Where a class stands and what it is called."""
    return f"{kind.__module__}.{kind.__qualname__}"
