/** Operators of ai.onnx.ml. Source: ONNX operator specification; the grammar is that of `parseSchemas`. */
export const ML_DOMAIN = `
ArrayFeatureExtractor 1 | 2 | 1
Binarizer 1 | 1 | 1 | threshold=f
CastMap 1 | 1 | 1 | cast_to=s map_form=s max_map=i
CategoryMapper 1 | 1 | 1 | cats_int64s=is cats_strings=ss default_int64=i default_string=s
DictVectorizer 1 | 1 | 1 | int64_vocabulary=is string_vocabulary=ss
FeatureVectorizer 1 | 1-* | 1 | inputdimensions=is
Imputer 1 | 1 | 1 | imputed_value_floats=fs imputed_value_int64s=is replaced_value_float=f replaced_value_int64=i
LabelEncoder 1 | 1 | 1 | classes_strings=ss default_int64=i default_string=s
LabelEncoder 2 | 1 | 1 | default_float=f default_int64=i default_string=s keys_floats=fs keys_int64s=is
    keys_strings=ss values_floats=fs values_int64s=is values_strings=ss
LabelEncoder 4 | 1 | 1 | default_float=f default_int64=i default_string=s default_tensor=t keys_floats=fs
    keys_int64s=is keys_strings=ss keys_tensor=t values_floats=fs values_int64s=is values_strings=ss values_tensor=t
LinearClassifier 1 | 1 | 2 | classlabels_ints=is classlabels_strings=ss coefficients!=fs intercepts=fs
    multi_class=i post_transform=s
LinearRegressor 1 | 1 | 1 | coefficients=fs intercepts=fs post_transform=s targets=i
Normalizer 1 | 1 | 1 | norm=s
OneHotEncoder 1 | 1 | 1 | cats_int64s=is cats_strings=ss zeros=i
SVMClassifier 1 | 1 | 2 | classlabels_ints=is classlabels_strings=ss coefficients=fs kernel_params=fs
    kernel_type=s post_transform=s prob_a=fs prob_b=fs rho=fs support_vectors=fs vectors_per_class=is
SVMRegressor 1 | 1 | 1 | coefficients=fs kernel_params=fs kernel_type=s n_supports=i one_class=i
    post_transform=s rho=fs support_vectors=fs
Scaler 1 | 1 | 1 | offset=fs scale=fs
TreeEnsemble 5 | 1 | 1 | aggregate_function=i leaf_targetids!=is leaf_weights!=t membership_values=t n_targets=i
    nodes_falseleafs!=is nodes_falsenodeids!=is nodes_featureids!=is nodes_hitrates=t
    nodes_missing_value_tracks_true=is nodes_modes!=t nodes_splits!=t nodes_trueleafs!=is nodes_truenodeids!=is
    post_transform=i tree_roots!=is
TreeEnsembleClassifier 1 | 1 | 2 | base_values=fs class_ids=is class_nodeids=is class_treeids=is
    class_weights=fs classlabels_int64s=is classlabels_strings=ss nodes_falsenodeids=is nodes_featureids=is
    nodes_hitrates=fs nodes_missing_value_tracks_true=is nodes_modes=ss nodes_nodeids=is nodes_treeids=is
    nodes_truenodeids=is nodes_values=fs post_transform=s
TreeEnsembleClassifier 3 | 1 | 2 | base_values=fs base_values_as_tensor=t class_ids=is class_nodeids=is
    class_treeids=is class_weights=fs class_weights_as_tensor=t classlabels_int64s=is classlabels_strings=ss
    nodes_falsenodeids=is nodes_featureids=is nodes_hitrates=fs nodes_hitrates_as_tensor=t
    nodes_missing_value_tracks_true=is nodes_modes=ss nodes_nodeids=is nodes_treeids=is nodes_truenodeids=is
    nodes_values=fs nodes_values_as_tensor=t post_transform=s
TreeEnsembleClassifier 5 | deprecated
TreeEnsembleRegressor 1 | 1 | 1 | aggregate_function=s base_values=fs n_targets=i nodes_falsenodeids=is
    nodes_featureids=is nodes_hitrates=fs nodes_missing_value_tracks_true=is nodes_modes=ss nodes_nodeids=is
    nodes_treeids=is nodes_truenodeids=is nodes_values=fs post_transform=s target_ids=is target_nodeids=is
    target_treeids=is target_weights=fs
TreeEnsembleRegressor 3 | 1 | 1 | aggregate_function=s base_values=fs base_values_as_tensor=t n_targets=i
    nodes_falsenodeids=is nodes_featureids=is nodes_hitrates=fs nodes_hitrates_as_tensor=t
    nodes_missing_value_tracks_true=is nodes_modes=ss nodes_nodeids=is nodes_treeids=is nodes_truenodeids=is
    nodes_values=fs nodes_values_as_tensor=t post_transform=s target_ids=is target_nodeids=is target_treeids=is
    target_weights=fs target_weights_as_tensor=t
TreeEnsembleRegressor 5 | deprecated
ZipMap 1 | 1 | 1 | classlabels_int64s=is classlabels_strings=ss
`;
