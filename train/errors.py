"""What can go wrong in training, each named; all survive pickling, because workers raise them."""


class TrainError(RuntimeError):
    """Training cannot start or cannot go on."""


class MaskError(TrainError):
    """A row's tokens or loss mask do not say what the conversation says."""


class AdapterError(TrainError):
    """An adapter is missing, damaged, without effect, or belongs to another base model."""


class RowTooLongError(TrainError):
    """A row has more tokens than the run allows; rows are never cut."""
