"""Data small enough to travel with the code.

Each set is one file, vendored beside the script that made it and the licences of what it was made from (`licenses/`),
and read by a module of its own: `phrases` is the Python manual, spelled in letters, with the sounds of its words;
`digits` are digits written by hand, 8 x 8 pixels; `spoken` are digits said by a speech synthesiser. `manual` is read
off Python itself.
"""
