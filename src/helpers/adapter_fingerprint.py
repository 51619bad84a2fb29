"""One name for what an adapter is: the same in the doctor's report and in what made an answer."""

import hashlib

_SHORT_LENGTH = 12


def fingerprint_of(config: bytes, weights_sha256: str) -> str:
    """64 hexadecimal digits: SHA-256 over ``adapter_config.json`` as it lies there and the weight file's own hash.

    A re-trained adapter at the same path has another one, a copy elsewhere the same.
    """
    return hashlib.sha256(config + weights_sha256.encode()).hexdigest()


def short_fingerprint(fingerprint: str) -> str:
    """The first characters of a fingerprint: enough to tell adapters apart on a screen."""
    return fingerprint[:_SHORT_LENGTH]
