"""The CLIP that judges `sd-emoji`: of another seed than the one that steers it."""

from course_lib.models import CLIPConfig, TextConfig
from course_lib.recipes.emoji_clip import IMAGE, TEXT_TOKENS, ClipRecipe
from course_lib.runs import Leg

# its text tower may be smaller, since its states steer nothing; its seed gives it another
# start, another order and other captions
RECIPE = ClipRecipe(
    name="emoji-judge",
    config=CLIPConfig(
        TextConfig(width=128, layers=3, heads=4, **TEXT_TOKENS), IMAGE, dropout=0.1
    ),
    batch_size=1024,
    lr=1e-3,
    legs=(Leg(727, flat=0.3),),
    seed=1,
    role="a judge, which never steers",
)
