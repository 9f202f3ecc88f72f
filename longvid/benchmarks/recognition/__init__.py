"""Data sets of short labelled clips.

They are Kinetics, Something-Something v2, UCF101, HMDB51 and Diving48.

In every manifest `label` is the class number that published weights use, and `label_names` holds its name.
"""
