"""Numbers as people read them."""


def readable_bytes(count: int) -> str:
    """A size in bytes, KB, MB or GB (powers of 1000)."""
    size = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit in ("bytes", "KB") or size >= 100 else f"{size:.1f} {unit}"


def readable_seconds(seconds: float) -> str:
    """A short time: milliseconds below a second, else seconds."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
