"""How good is a classifier?"""
