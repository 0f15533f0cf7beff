"""Run as a process of its own: vLLM's log-probability of every token of some prompts, as JSON."""

import json
import sys


def main(model: str, prompts: str) -> None:
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=model,
        dtype="float32",
        enforce_eager=True,
        skip_tokenizer_init=True,
        kv_cache_memory_bytes=2**28,
        max_model_len=256,
        enable_prefix_caching=False,
        disable_log_stats=True,
    )
    asked = [{"prompt_token_ids": ids} for ids in json.loads(prompts)]
    done = engine.generate(
        asked, SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
    )
    found = []
    for ids, answer in zip(json.loads(prompts), done, strict=True):
        # Nothing stands before the first token to predict it from.
        after = zip(ids[1:], answer.prompt_logprobs[1:], strict=True)
        found.append([0.0, *(at[token].logprob for token, at in after)])
    print("FOUND " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
