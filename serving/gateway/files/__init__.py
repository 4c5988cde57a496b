"""Documents that callers send as files: PDF, images and text, read as an import reads them."""
