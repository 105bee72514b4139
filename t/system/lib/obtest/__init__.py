# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What the system tests are written with."""
