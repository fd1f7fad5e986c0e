"""How much tracer is taken up?"""
