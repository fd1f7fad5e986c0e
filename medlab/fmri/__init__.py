"""Where does the brain answer?"""
