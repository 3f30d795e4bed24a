"""Tests of the command line, run in this process except for one."""
