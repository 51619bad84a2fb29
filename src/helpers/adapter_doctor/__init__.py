"""The adapter doctor, static half: one module per subject. Entry: :mod:`helpers.adapter_validation`."""
