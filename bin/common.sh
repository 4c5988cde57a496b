# Shared by the scripts of this folder.

# One sentence for the person at the terminal, then the end.
refuse() {
    printf '%s\n' "$*" >&2
    exit 2
}
