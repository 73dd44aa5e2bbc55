"""Automated Billing Reconciliation: finds the hours a services firm worked and never billed."""

from importlib.metadata import version

__version__ = version("abr")
