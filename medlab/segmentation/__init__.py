"""Where does it end?"""
