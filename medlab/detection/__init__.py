"""Where is a lesion?"""
