"""The rows that training eats, declared here because `train` imports nobody."""

import pyarrow as pa

SCHEMA_VERSION = "1"

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])

SFT_SCHEMA = pa.schema(
    [
        ("messages", pa.list_(_MESSAGE)),  # Hugging Face `messages`; the first may be a system message
        ("task_id", pa.string()),
        ("trajectory_id", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
    ],
    metadata={"offbook_record": "sft", "offbook_schema_version": SCHEMA_VERSION},
)

TOKENS_SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),  # [num_tokens]
        ("labels", pa.list_(pa.int32())),  # [num_tokens], -100 where there is no loss
        ("task_id", pa.string()),
        ("trajectory_id", pa.string()),
        ("arm", pa.string()),
        ("num_tokens", pa.int32()),
        ("num_loss_tokens", pa.int32()),
    ],
    metadata={"offbook_record": "tokens", "offbook_schema_version": SCHEMA_VERSION},
)
