"""The hint writer's model behind an OpenAI-compatible endpoint: the client of `actors`, asked for JSON of one form."""

from actors.chat import Generate
from actors.config import EndpointConfig
from actors.openai_chat import OpenAIChat
from distill.hints.config import OpenAIWriterConfig
from distill.hints.reply import WrittenHints


def hint_endpoint(config: OpenAIWriterConfig) -> Generate:
    """A fresh client; it belongs to the event loop that it is first used in."""
    endpoint = EndpointConfig(
        model=config.model,
        base_url=config.base_url,
        api_key_env=config.api_key_env,
        timeout_s=config.timeout_s,
        max_attempts=config.max_attempts,
    )
    form = {"name": "hints", "strict": True, "schema": WrittenHints.model_json_schema()}
    asked = {"type": "json_schema", "json_schema": form} if config.json_schema else None
    return OpenAIChat(endpoint, response_format=asked)
