"""The documents of a package: model card, evidence, bill of materials, files for other servers, manifest."""
