"""Human-readable sizes in bytes, for pages, sentences and commands."""


def format_bytes(number: float) -> str:
    """Bytes in thousands and not in 1024s: "704 KB", "24 MB", "8.4 GB", "14 GB"."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if number >= 0.95 * size:
            digits = 1 if unit == "GB" and number < 9.95e9 else 0
            return f"{number / size:,.{digits}f} {unit}"
    return f"{number:.0f} bytes"
