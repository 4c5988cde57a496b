"""The settings of a deployment: answer policy, review sample, storage, limits of use, alert addresses."""
