"""Bounds of the catalogue that protect the server; every one is tested at its edge."""

PER_KIND = 5_000  # resources of one kind in a tenant; rules count by version
LISTS = 100  # lists in a tenant: they are held in memory
LIST_ENTRIES = 100_000
LISTS_PER_RULE = 3
LISTS_PER_DETECTOR_VERSION = 30
MODELS_PER_DETECTOR_VERSION = 10
TAGS = 50  # of one resource
VERSION_NUMBER = 99_999  # the longest number that the version shapes take
MODEL_VERSION_MAJOR = 9_999
MODEL_VERSION_MINOR = 99
MODEL_VARIABLES_MIN, MODEL_VARIABLES_MAX = 2, 100
TRAININGS_PER_TENANT = 3
DEPLOYED_MODELS = 50  # loaded models take memory
VARIABLE_TEXT = 8_192  # characters of a variable's description or default
EXTERNAL_OUTPUTS = 100  # variables that one external model fills
ROLE_ARN = 2_048  # characters
IMPORTS_AT_ONCE = 10  # of a tenant, running or waiting
PREDICTION_JOBS_AT_ONCE = 1
IMPORT_BYTES = 20 << 30
PREDICTION_BYTES = 1 << 30
