"""What do the regions measure?"""
