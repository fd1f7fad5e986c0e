"""How long, and who is at risk?"""
