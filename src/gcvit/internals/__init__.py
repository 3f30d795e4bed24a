"""All that is used of other libraries' private parts, each with what happens in a release that lacks it.

No other room touches a private name of another library. What is missing costs speed or a convenience, never a right
result; only ahead-of-time compilation cannot do without.
"""
