"""What backends over torch share: how a model's class is configured, and how it is loaded, with every tensor accounted for.

Importing this package is cheap; its modules import torch and transformers.
"""
